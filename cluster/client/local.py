"""Finding a cluster: the one of this machine, or the one that the settings name."""

from pathlib import Path

from cluster.client.blocking import Client
from cluster.client.errors import NoCluster
from cluster.config.loader import load_settings
from cluster.config.schema import Settings
from cluster.config.state_directory import ClusterCard, StateDir


def find_cluster(state_dir: Path | None = None) -> tuple[StateDir, ClusterCard]:
    """The cluster that runs in `state_dir` (by default the configured one). Raises NoCluster."""
    state = StateDir(state_dir or load_settings().state_dir)
    card = state.read_card()
    if card is None:
        raise NoCluster(f"no cluster runs in {state.path}: start one with `aima up`, or set api.url to one elsewhere")
    return state, card


def local_client(state_dir: Path | None = None) -> Client:
    """A client of the cluster on this machine. Raises NoCluster."""
    state, card = find_cluster(state_dir)
    return Client(card.api_url, state.token("api"))


def api_access(settings: Settings) -> tuple[str, str]:
    """The API's URL and a key for it: those of `settings.api`, else of the cluster on this machine.

    Raises NoCluster, which says what is missing.
    """
    if not settings.api.url:
        state, card = find_cluster(settings.state_dir)
        return card.api_url, state.token("api")
    path = settings.api.key_file
    if path is None:
        raise NoCluster(f"api.url is {settings.api.url}, but api.key_file names no file with a key for it")
    try:
        return settings.api.url, path.expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise NoCluster(f"the key for {settings.api.url} cannot be read: {path}: {error.strerror}") from None
