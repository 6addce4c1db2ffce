"""A head that ended in the worst moment comes back with its service."""

import signal
from pathlib import Path

import psutil

from cluster import embedded
from cluster.processes import head_processes
from pipelines.sample import sample_video
from tests.integration.conftest import running, settings_in
from tests.processes import words
from tests.waiting import wait_until


def test_serve_is_deployed_again_where_ray_wrote_down_half_of_its_end(tmp_path: Path) -> None:
    """Told to end together, Ray's GCS still notes that the node has left, and no more that its actors are to move."""
    settings = settings_in(tmp_path)
    with running(settings) as cluster:
        gcs, ray_dir = cluster.state.gcs_dir(cluster.card.cluster_id), cluster.state.ray_dir(cluster.card.cluster_id)
        wait_until("the head is done with deploying", (gcs / "deployed").exists, 60)
        head = head_processes(cluster.card.cluster_id, ray_dir)
        parts = [p for p in head if "".join(words(p)[:1]).endswith(("/gcs_server", "/raylet"))]
        (keeper,) = [p for p in head if words(p)[-1:] == ["cluster.head"]]
        assert len(parts) == 2
        keeper.suspend()
        for part in parts:
            part.send_signal(signal.SIGTERM)
        psutil.wait_procs(parts, timeout=30)
        for process in head:
            if process.is_running():
                process.kill()
        psutil.wait_procs(head, timeout=30)
        said: list[str] = []
        assert embedded.up(settings, said.append) == cluster.card
        assert "starting its head again" in said[0]
        view = list(cluster.client.follow(cluster.client.submit([str(sample_video())], ["labels"])["id"]))[-1]
        assert view["state"] == "succeeded", view["error"]
        cluster.wait_for_zero()
