"""What goes wrong at the clouds: every failure that their fakes know, and machines that vanish."""

import contextlib
import random
from collections.abc import Iterator, Mapping

from autoscaler.fakes.failures import RUNPOD_FAILURES, VASTAI_FAILURES, Failure, html
from autoscaler.fakes.faults import Fault
from tests.chaos.faults import Kind
from tests.chaos.schedule import Habit
from tests.chaos.stage import Stage

_FAILURES: Mapping[str, Mapping[str, Failure]] = {"runpod": RUNPOD_FAILURES, "vastai": VASTAI_FAILURES}
# After these nothing is bought from the cloud for five minutes.
_STOPPING = ("F26", "F26-create", "F27", "F27-html", "F28", "F45", "V3")
# As seen in the field its longest window lasts half an hour: nobody would see the end of it.
_SHORT_429 = Fault(on="list", answer=html(429, **{"RateLimit": '"minute";r=0;t=6', "Retry-After": "6"}))
# How these clouds behave when all is well; what a failure changes of it is taken back.
_WELL = {
    "list_lag_s": 0.0,
    "balance_usd": 100.0,
    "conflict_while_provisioning": False,
    "self_termination": True,
}


@contextlib.contextmanager
def machine_vanishes(stage: Stage, chance: random.Random) -> Iterator[str]:
    """A machine is gone at its cloud, which tells nobody."""
    if not (alive := stage.alive()):
        yield ""
        return
    cloud, machine = chance.choice(sorted(alive))
    stage.control(cloud, "DELETE", f"machines/{machine}")
    yield f"{machine} vanished from {cloud}"


def _failure(cloud: str, name: str) -> Kind:
    @contextlib.contextmanager
    def strike(stage: Stage, _chance: random.Random) -> Iterator[str]:
        if (cloud, name) == ("runpod", "F25"):
            stage.control(cloud, "POST", "faults", _SHORT_429.model_dump())
        else:
            stage.control(cloud, "POST", f"failures/{name}")
        try:
            yield f"{cloud}: {_FAILURES[cloud][name].says} ({name})"
        finally:
            stage.control(cloud, "DELETE", "faults")
            stage.control(cloud, "PATCH", "behaviour", _WELL)

    return Kind(strike, Habit((8.0, 20.0), group="clouds", stops=cloud if name in _STOPPING else ""))


KINDS = {
    "machine vanishes": Kind(machine_vanishes, Habit(group="clouds")),
    **{f"{cloud} {name}": _failure(cloud, name) for cloud, failures in _FAILURES.items() for name in failures},
}
