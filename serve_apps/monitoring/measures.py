"""What is counted while analyses are worked on. Whoever shows the numbers gives a `Measures` of its own."""

from collections.abc import Callable, Hashable

from pipelines.errors import MediaError, MediaUnavailable
from serve_apps.analyses import Lane

# What an error's class or one of its ancestors is called, and the cause that stands for it. The first found names it.
_CAUSES = (
    ("memory", {"MemoryError", "OutOfMemoryError", "ObjectStoreFullError"}),
    (
        "worker lost",
        {"RayActorError", "ActorUnavailableError", "NodeDiedError", "WorkerCrashedError", "ReplicaUnavailableError"},
    ),
    ("timeout", {"TimeoutError", "GetTimeoutError"}),
    ("database", {"SQLAlchemyError"}),
    ("storage", {"BotoCoreError", "ClientError", "ArrowException", "OSError"}),
)
# Causes that lie neither in what is analysed nor in who analyses it.
OUTAGES = ("database", "storage", "unavailable")
CAUSES = ("media", "unavailable", *(cause for cause, _names in _CAUSES), "other")


class Measures:
    """Told of everything as it happens. This one keeps nothing."""

    def began(self, key: Hashable, lane: Lane, instance: str) -> None:
        """A segment's first frame is decoded on an instance. Said again, it changes nothing."""

    def left(self, key: Hashable) -> None:
        """A segment is not worked on any more, however that came."""

    def done(self, lane: Lane, media_s: float, busy_s: float) -> None:
        """A segment's results are stored."""

    def failed(self, lane: Lane, cause: str, final: bool) -> None:
        """A segment failed; unless `final` it is tried again. `cause` is one of CAUSES."""

    def erred(self, stage: str, cause: str) -> None:
        """Something else failed: "plan", or "chore"."""


def cause_of(error: BaseException) -> str:
    """The error as one of CAUSES. By names: the classes of Ray, torch and boto3 need not be installed here."""
    if isinstance(error, MediaError):
        return "unavailable" if isinstance(error, MediaUnavailable) else "media"
    names = {kind.__name__ for kind in type(error).__mro__}
    return next((cause for cause, known in _CAUSES if names & known), "other")


class UsefulTime:
    """Seconds in which instances worked on at least one segment, by lane. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._where: dict[Hashable, tuple[Lane, str]] = {}
        self._since: dict[tuple[Lane, str], float] = {}
        self._total = dict.fromkeys(Lane, 0.0)

    def begin(self, key: Hashable, lane: Lane, instance: str) -> None:
        """A segment is worked on."""
        if key not in self._where:
            self._where[key] = (lane, instance)
            self._since.setdefault((lane, instance), self._clock())

    def end(self, key: Hashable) -> None:
        """A segment is not worked on any more; one that never began is no matter."""
        place = self._where.pop(key, None)
        if place is not None and place not in self._where.values():
            self._total[place[0]] += self._clock() - self._since.pop(place)

    def totals(self) -> dict[Lane, float]:
        """Until now."""
        totals, now = dict(self._total), self._clock()
        for (lane, _instance), since in self._since.items():
            totals[lane] += now - since
        return totals
