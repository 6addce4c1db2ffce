"""A container of the head's pod: everything is given, nothing is made up."""

import subprocess
import sys
from pathlib import Path

import pytest

from cluster.config.schema import HttpSettings, Settings
from cluster.config.state_directory import TOKENS, StateDir
from cluster.head.kubernetes_entrypoint import PodError, fixed_card, prepare

CLUSTER = "aima-0123456789abcdef"
ENVIRONMENT = {"AIMA_CLUSTER": CLUSTER}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A state directory with the mounted tokens."""
    (tmp_path / "tokens").mkdir()
    for name in TOKENS:
        (tmp_path / "tokens" / name).write_text(f"{name}-secret")
    return Settings(state_dir=tmp_path, http=HttpSettings(host="0.0.0.0")).resolved()


def test_both_containers_get_the_same_fixed_addresses(settings: Settings) -> None:
    states = [prepare(role, settings, ENVIRONMENT, 5.0) for role in ("head", "orchestrator")]
    assert (states[0].logs / "api.log").readlink() == Path("/proc/1/fd/2"), "`kubectl logs` shows the API's log"
    assert states[0].read_card() == states[1].read_card() == fixed_card(CLUSTER, settings, 5.0)
    card = fixed_card(CLUSTER, settings, 5.0)
    assert (card.host, card.base_port) == ("127.77.0.1", 10_000)
    assert card.api_url.endswith(":8000")
    assert card.orchestrator_url == "http://127.77.0.1:10009", "the liveness probe of k8s/base/raycluster.yaml"


def test_a_killed_heads_leftovers_are_removed(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "left"
    monkeypatch.setattr(StateDir, "ray_dir", lambda _state, _cluster_id: left)
    for role, stays in (("orchestrator", True), ("head", False)):
        left.mkdir(exist_ok=True)
        prepare(role, settings, ENVIRONMENT, 5.0)
        assert left.exists() is stays


@pytest.mark.parametrize("name", TOKENS)
def test_a_missing_or_empty_token_is_named(settings: Settings, name: str) -> None:
    path = settings.state_dir / "tokens" / name
    for spoil in (lambda: path.write_text(""), path.unlink):
        spoil()
        with pytest.raises(PodError, match=f"aima-tokens with key '{name}'"):
            prepare("head", settings, ENVIRONMENT, 5.0)


def test_what_else_is_missing_is_named(settings: Settings) -> None:
    with pytest.raises(PodError, match="AIMA_CLUSTER is not set"):
        prepare("head", settings, {}, 5.0)
    with pytest.raises(PodError, match="one of head, orchestrator"):
        prepare("tail", settings, ENVIRONMENT, 5.0)
    with pytest.raises(PodError, match=r"http\.port = 0"):
        fixed_card(CLUSTER, settings.model_copy(update={"http": HttpSettings(port=0)}), 5.0)


def test_as_a_program_it_says_so_in_one_line(tmp_path: Path) -> None:
    environment = {"AIMA_STATE_DIR": str(tmp_path), "AIMA_CLUSTER": CLUSTER, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-m", "cluster.head.kubernetes_entrypoint", "head"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("cluster.head.kubernetes_entrypoint: ")
    assert "mount the secret aima-tokens" in done.stderr


@pytest.mark.parametrize("cluster_id", ["aima", "aima-staging", "aima-0123abcd", "", "-"])
def test_an_id_that_another_installation_may_have_chosen_too_is_refused(settings: Settings, cluster_id: str) -> None:
    with pytest.raises(PodError, match=r"ConfigMap aima-installation with cluster-id=aima-\$\(openssl rand -hex 8\)"):
        prepare("orchestrator", settings, {"AIMA_CLUSTER": cluster_id}, 5.0)
    assert StateDir(settings.state_dir).read_card() is None
