"""The first process of a container in Kubernetes.

`python -m cluster.head.kubernetes_entrypoint head` starts the head, `... orchestrator` the orchestrator.

What `aima up` makes on one machine is given here. The two containers share the pod's network, and nobody else is in
it, so the first block of addresses and ports is theirs. Tokens are mounted; each container has a state directory of
its own, so that nothing that Ray runs can read the orchestrator's ledger and keys.
"""

import os
import shutil
import sys
from collections.abc import Iterable, Mapping

import psutil

from autoscaler.names import is_unguessable
from cluster.config.loader import load_settings
from cluster.config.schema import Settings
from cluster.config.state_directory import TOKENS, ClusterCard, StateDir
from cluster.overlay.addresses import NodeAddress, node_address
from cluster.overlay.ports import Listener, listeners

# The ConfigMap that holds the installation's id.
INSTALLATION = "aima-installation"
ROLES = {"head": "cluster.head.start", "orchestrator": "cluster.orchestrator.process"}


class PodError(RuntimeError):
    """The pod lacks something; the message names it and the way out."""


def fixed_card(cluster_id: str, settings: Settings, started_at: float) -> ClusterCard:
    """The card of a cluster that is alone in its network. `started_at` in unix seconds. Raises PodError."""
    if not settings.http.port:
        raise PodError("http.port = 0: a pod's API needs a fixed port, such as 8000")
    address = node_address(0)
    return ClusterCard(
        cluster_id=cluster_id,
        host=address.host,
        base_port=address.base_port,
        api_url=f"http://127.0.0.1:{settings.http.port}",
        orchestrator_url=f"http://{address.host}:{address.orchestrator_port}",
        started_at=started_at,
    )


def prepare(role: str, settings: Settings, environment: Mapping[str, str], started_at: float) -> StateDir:
    """Write the card, and remove what a killed container's Ray has left. Raises PodError."""
    if role not in ROLES:
        raise PodError(f"role {role!r}: it is one of {', '.join(ROLES)}")
    cluster_id = _cluster_id(environment)
    state = StateDir(settings.state_dir)
    for name in TOKENS:
        if not state.token_path(name).is_file() or not state.token(name):
            raise PodError(
                f"{state.token_path(name)} is missing or empty: mount the secret aima-tokens with key {name!r}"
            )
    for directory in (state.logs, state.path / "overlay"):
        directory.mkdir(exist_ok=True, mode=0o700)
    state.write_card(fixed_card(cluster_id, settings, started_at))
    if role == "head":
        # The API runs inside Ray, which would keep its log to itself: it goes where the container's own goes.
        (state.logs / "api.log").unlink(missing_ok=True)
        (state.logs / "api.log").symlink_to("/proc/1/fd/2")
        # The processes of an earlier container are gone with it; `ray start` would refuse because of their files.
        shutil.rmtree(state.ray_dir(cluster_id), ignore_errors=True)
    return state


def _cluster_id(environment: Mapping[str, str]) -> str:
    """Refuses an id that another installation may have chosen too: each would end the other's machines."""
    cluster_id = environment.get("AIMA_CLUSTER", "")
    way_out = (
        f"create the ConfigMap {INSTALLATION} with cluster-id=aima-$(openssl rand -hex 8), and keep it (k8s/README.md)"
    )
    if not cluster_id:
        raise PodError(f"AIMA_CLUSTER is not set: {way_out}")
    if not is_unguessable(cluster_id):
        raise PodError(f"AIMA_CLUSTER = {cluster_id!r} could be another installation's id as well: {way_out}")
    return cluster_id


def refuse_strangers(role: str, address: NodeAddress, listening: Iterable[Listener]) -> None:
    """Nothing but the other container may listen in the pod's block: workers may reach what does. Raises PodError.

    The head's ports are free while its container starts. The orchestrator may start anew beside a head that runs, so
    it looks at its own ports; at each stream it looks whose listener is there.
    """
    orchestrators = {address.orchestrator_port, address.hub_port}
    own = orchestrators if role == "orchestrator" else set(address.ports) - orchestrators
    if found := [f"{each.host} port {each.port} (user {each.user_id})" for each in listening if each.port in own]:
        raise PodError(
            f"something listens in the port block of the cluster, {address.base_port}-{address.base_port + 63}:"
            f" {', '.join(found[:3])}. Remove that container from the pod, or let it listen elsewhere"
        )


def main() -> None:
    """Prepare, then become the process of that role."""
    role = sys.argv[1] if len(sys.argv) == 2 else ""
    try:
        settings, address = load_settings(), node_address(0)
        prepare(role, settings, os.environ, psutil.Process().create_time())
        refuse_strangers(role, address, listeners(address.ports))
    except PodError as error:
        sys.exit(f"cluster.head.kubernetes_entrypoint: {error}")
    os.execv(sys.executable, [sys.executable, "-m", ROLES[role]])  # noqa: S606 - a fixed program


if __name__ == "__main__":
    main()
