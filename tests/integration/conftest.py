"""A real cluster on this machine: Ray, Serve, the orchestrator and local workers."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from cluster.client import Client
from cluster.config.schema import HttpSettings, LocalCloudSettings, ScalingSettings, Settings
from cluster.config.state_directory import ClusterCard, StateDir
from cluster.local import embedded
from cluster.local.demo import live_instances
from cluster.local.processes import processes
from tests.waiting import wait_until


@dataclass(frozen=True)
class Running:
    """A running cluster and what tests ask of it."""

    card: ClusterCard
    state: StateDir
    client: Client

    def instances(self) -> list[dict[str, Any]]:
        """Every instance that was ever wanted, ended ones too."""
        return list(self.client.instances()["instances"])

    def wait_for_zero(self) -> None:
        """Wait until no instance exists or may exist."""
        wait_until("no instance is left", lambda: not live_instances(self.client.instances()), 90)


def settings_in(directory: Path) -> Settings:
    """A cluster of its own, with segments so short that something can happen between them, on machines with a price."""
    scaling, local = ScalingSettings(idle_limit_s=5, segment_s=5), LocalCloudSettings(price_usd_per_hour=0.36)
    return Settings(state_dir=directory, http=HttpSettings(port=0), scaling=scaling, local=local).resolved()


@contextmanager
def running(settings: Settings) -> Iterator[Running]:
    """The cluster, until it is stopped with no process left."""
    state = StateDir(settings.state_dir)
    card = embedded.up(settings)
    try:
        with Client(card.api_url, state.token("api")) as client:
            yield Running(card, state, client)
    finally:
        embedded.down(state)
    assert not list(processes(card.cluster_id))
    assert not list(Path(tempfile.gettempdir()).glob(f"{card.cluster_id}*")), "whoever was killed has left something"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One cluster for most integration tests; each leaves it at zero instances."""
    with running(settings_in(tmp_path_factory.mktemp("cluster"))) as cluster:
        yield cluster


@pytest.fixture
def at_zero(cluster: Running) -> Iterator[Running]:
    """The cluster with no instance before and after the test."""
    cluster.wait_for_zero()
    yield cluster
    cluster.wait_for_zero()


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a minute of the sample video, so that something can happen in its middle."""
    import av  # noqa: PLC0415

    from pipelines.media.sample_video import sample_video  # noqa: PLC0415

    path = tmp_path_factory.mktemp("media") / "long.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "25"})
        stream.width, stream.height, stream.pix_fmt = 320, 136, "yuv420p"
        for repeat in range(3):
            with av.open(str(sample_video())) as source:
                for number, frame in enumerate(source.decode(video=0)):
                    small = frame.reformat(320, 136)
                    small.pts, small.time_base = repeat * 250 + number, Fraction(1, 25)
                    output.mux(stream.encode(small))
        output.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def minute(long_clip: Path) -> list[Path]:
    """The same clip twice: twelve segments, so that a worker can be lost between them."""
    twin = long_clip.with_name("twin.mp4")
    twin.hardlink_to(long_clip)
    return [long_clip, twin]
