"""How much the workers of each lane are given at once."""

import pytest

from cluster.config.node_resources import segments_per_worker
from cluster.config.schema import NodeTypeSettings, OverlaySettings, ScalingSettings, Settings
from pipelines.models.devices import segments_at_once


@pytest.mark.parametrize(
    ("cores", "media_s_per_worker", "segment_s", "wanted"),
    [
        (2, 300, 60, 2),
        (8, 300, 60, 5),  # more would be another worker's
        (8, 300, 30, 8),
        (64, 3600, 30, 16),  # each costs memory
        (0.5, 300, 60, 2),
        (8, 30, 60, 2),
    ],
)
def test_cores_and_a_worker_s_share_bound_what_runs_at_once(
    cores: float, media_s_per_worker: float, segment_s: float, wanted: int
) -> None:
    assert segments_at_once(cores, media_s_per_worker, segment_s) == wanted


def test_the_smallest_kind_of_gpu_worker_decides() -> None:
    rented = NodeTypeSettings(clouds=("runpod", "vastai"), min_vcpus_per_gpu=6.0, gpus=2.0)
    own = NodeTypeSettings(cpus=8.0)
    cpus = NodeTypeSettings(clouds=("kubernetes",), cpus=1.0, gpus=0.0)
    long = ScalingSettings(media_s_per_worker=3600.0)
    overlay = OverlaySettings(enabled=True, public_host="198.51.100.7", image="aima-worker")
    two = Settings(node_types={"a": rented, "b": own}, scaling=long, overlay=overlay)
    assert segments_per_worker(two.model_copy(update={"node_types": {"a": rented}})) == {"gpu": 6, "cpu": 2}
    assert segments_per_worker(two) == {"gpu": 2, "cpu": 2}
    assert segments_per_worker(Settings(node_types={"c": cpus})) == {"gpu": 2, "cpu": 2}
