"""The CPU lane on its own: a deployment that has no GPU nodes runs everything on CPU workers."""

from pathlib import Path

from cluster.config.schema import NodeTypeSettings
from pipelines.media.sample_video import sample_video
from tests.integration.conftest import running, settings_in


def test_the_cpu_lane_goes_from_zero_to_zero(tmp_path: Path) -> None:
    settings = settings_in(tmp_path).model_copy(update={"node_types": {"cpu": NodeTypeSettings(gpus=0, max_count=1)}})
    with running(settings) as cluster:
        submitted = cluster.client.submit([str(sample_video())], ["labels"])
        views = list(cluster.client.follow(submitted["id"]))
        assert views[-1]["state"] == "succeeded", views[-1]["error"]
        reasons = [view["waiting"]["reason"] for view in views if view["waiting"]]
        assert any("no CPU worker yet" in reason for reason in reasons)
        assert [instance["node_type"] for instance in cluster.instances()] == ["cpu"]
        cluster.wait_for_zero()
