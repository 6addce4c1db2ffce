"""`aima demo`: the first story from zero to zero, on a cluster of its own, told while it happens."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.client import Client
from cluster.config.schema import Settings
from cluster.config.state_directory import StateDir
from cluster.local import embedded, fake_cloud
from cluster.local.ending import Access
from pipelines.media.sample_video import sample_video

ANALYZERS = ("labels", "scenes")
_ZERO_TIMEOUT_S = 120.0
_POLL_S = 0.2

Say = Callable[[str], None]
Show = Callable[[Mapping[str, Any]], None]


class DemoFailed(RuntimeError):
    """The demonstration did not reach its end; the message says where."""


@dataclass
class _Clock:
    """Seconds since the demonstration began, by the name of the moment."""

    started: float = field(default_factory=time.monotonic)
    moments: dict[str, float] = field(default_factory=dict)

    def mark(self, name: str) -> None:
        self.moments.setdefault(name, time.monotonic() - self.started)

    def between(self, first: str, second: str) -> float:
        return round(self.moments.get(second, 0.0) - self.moments.get(first, 0.0), 3)


def run(settings: Settings, say: Say, show: Show, cloud: str = "local") -> dict[str, Any]:
    """Start a cluster, analyse the sample, return to zero, stop. `show` gets each view of the running analysis.

    `cloud`: "local", or one of fake_cloud.KINDS, whose server is started and whose own bill comes with the summary.
    """
    # Private from the start: a cluster that stays keeps its secrets there, beside the demonstrations.
    settings.resolved().state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    own = _own_settings(settings)
    if cloud == "local":
        return _tell(own, say, show, os.environ)
    with fake_cloud.running(cloud, own.state_dir / "fake-cloud") as fake:
        say(f"a {cloud} sells machines at {fake.url}: its containers are processes of this machine")
        summary = _tell(_buying_from(own, fake.cloud), say, show, {**os.environ, **fake.environment})
        machines = fake.bill()["machines"].values()
    bill = {key: round(sum(machine[key] for machine in machines), 6) for key in ("billed_s", "usd")}
    return summary | {"cloud": cloud, "clouds_own_bill": bill | {"alive": sum(m["alive"] for m in machines)}}


def _tell(own: Settings, say: Say, show: Show, environment: Mapping[str, str]) -> dict[str, Any]:
    clock = _Clock()
    state = StateDir(own.state_dir)
    try:
        card = embedded.up(own, say, environment)
        say(f"the API listens at {card.api_url}/docs; no worker exists, nothing is billed")
        with Client(card.api_url, state.token("api")) as client:
            outcome = _analyse(client, clock, say, show)
            _wait_for_zero(client, clock, say)
            fleet = client.instances()
    finally:
        embedded.down(state, say, Access(own, environment, Path.home()))
    clock.mark("end")
    return _summary(outcome, fleet, clock)


def _own_settings(settings: Settings) -> Settings:
    """Settings of a cluster beside any other on this machine: its own directory, its own ports."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    own = {"state_dir": settings.state_dir / "demo" / name, "database_url": "", "storage_uri": ""}
    return settings.model_copy(update=own | {"http": settings.http.model_copy(update={"port": 0})}).resolved()


def _buying_from(settings: Settings, cloud: str) -> Settings:
    """The same with every GPU worker rented from `cloud`, through the overlay; its machines have no GPU to check."""
    shapes = {
        name: shape.model_copy(update={"clouds": (cloud,)}) if shape.gpus else shape
        for name, shape in settings.node_types.items()
    }
    overlay = settings.overlay.model_copy(
        update={"enabled": True, "public_host": "127.0.0.1", "image": "aima-worker", "check_gpu": False}
    )
    return settings.model_copy(update={"node_types": shapes, "overlay": overlay})


def _analyse(client: Client, clock: _Clock, say: Say, show: Show) -> dict[str, Any]:
    video = sample_video()
    say(f"submitting {video.name} for {' and '.join(ANALYZERS)}")
    clock.mark("posted")
    for analysis in client.follow(client.submit([str(video)], ANALYZERS)["id"]):
        show(analysis)
    clock.mark("finished")
    if analysis["state"] != "succeeded":
        raise DemoFailed(f"the analysis ended as {analysis['state']}: {analysis.get('error')}")
    return {"analysis": analysis, "results": client.results(analysis["id"])}


def _wait_for_zero(client: Client, clock: _Clock, say: Say) -> None:
    say("waiting for the worker to go: it is kept for a few idle seconds in case more work comes")
    deadline = time.monotonic() + _ZERO_TIMEOUT_S
    while live := live_instances(client.instances()):
        if time.monotonic() > deadline:
            raise DemoFailed(f"these instances do not end: {[i['name'] for i in live]}")
        time.sleep(_POLL_S)
    clock.mark("zero")
    say("0 instances, nothing is billed")


def live_instances(fleet: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The instances of a fleet view that exist or may exist, and so may be billed."""
    return [i for i in fleet["instances"] if i["state"] not in ("ended", "failed")]


def _summary(outcome: Mapping[str, Any], fleet: Mapping[str, Any], clock: _Clock) -> dict[str, Any]:
    analysis, seconds = outcome["analysis"], outcome["analysis"]["seconds"]
    return {
        "analysis_id": analysis["id"],
        "status": analysis["state"],
        "frames": analysis["progress"]["frames"],
        "segments": analysis["progress"]["segments_total"],
        "instances_launched": len(fleet["instances"]),
        "instances_left": len(live_instances(fleet)),
        "cost_usd": round(sum(i["cost_usd"] for i in fleet["instances"]), 6),
        "seconds": {
            "queued": seconds["queued"],
            "to_first_worker": seconds["to_first_frame"],
            "analysis": seconds["analysis"],
            "to_zero": clock.between("finished", "zero"),
            "total": clock.between("none", "end"),
        },
        "results": outcome["results"]["parts"],
        "billed_s": round(sum(i["billed_s"] for i in fleet["instances"]), 3),
        "findings": outcome["results"],
    }
