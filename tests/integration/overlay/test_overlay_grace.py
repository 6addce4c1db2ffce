"""A worker that has lost its head for longer than the grace ends itself, and its work is done elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.config.schema import OverlaySettings
from cluster.local.demo import live_instances
from cluster.orchestrator.overlay_server import isolation
from tests.integration.conftest import Running, running, settings_in
from tests.support.overlay.links import between
from tests.support.overlay.overlaid import (
    begin,
    finish,
    in_network_of,
    pid_of_worker,
    raylet_of_worker,
    segments,
    worker_of,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(not isolation(), reason="neither root nor user namespaces: no network of its own")
SILENCE_S, GRACE_S = 6, 15


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Running]:
    """A cluster whose workers give up a lost head soon."""
    overlay = OverlaySettings(enabled=True, isolate_local=True, grace_s=GRACE_S, silence_s=SILENCE_S)
    with running(settings_in(tmp_path).model_copy(update={"overlay": overlay})) as cluster:
        yield cluster


def test_a_worker_cut_off_for_longer_than_the_grace_ends_itself_and_its_segments_run_elsewhere(
    impatient: Running, minute: list[Path]
) -> None:
    with between(impatient.state.hub_socket(impatient.card.cluster_id)) as link:
        analysis_id = begin(impatient, minute)
        lost, pid = worker_of(impatient)["name"], pid_of_worker(impatient)
        family = in_network_of(pid)
        assert raylet_of_worker(impatient) in family
        link.cut(pid)
        kept = {part: Path(part).stat().st_mtime_ns for part in impatient.client.results(analysis_id)["parts"]}
        wait_until("nothing of it is left", lambda: not any(process.is_running() for process in family), 120)
        assert f"ends: the head was away for longer than {GRACE_S} s: no answer in time" in log_of(impatient, lost)
        wait_until("it is known to be gone", lambda: lost not in live(impatient))
        finish(impatient, analysis_id, minute)
    ran = segments(impatient, analysis_id)
    (other,) = {segment.instance for segment in ran if segment.attempts}
    assert other != lost, "a segment was lost with its worker, and yet did not run elsewhere"
    assert {segment.instance for segment in ran} == {lost, other}
    assert {part: Path(part).stat().st_mtime_ns for part in kept} == kept, "what was stored was computed again"
    impatient.wait_for_zero()
    assert "ends: it was told to stop" in log_of(impatient, str(other))


def live(cluster: Running) -> list[str]:
    return [instance["name"] for instance in live_instances(cluster.client.instances())]


def log_of(cluster: Running, name: str) -> str:
    return (cluster.state.logs / f"{name}.log").read_text()
