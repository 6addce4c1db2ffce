"""What Ray says of its nodes, and since when a node's resources have not been in use."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from autoscaler.types import Activity, Intent

# What Ray said of a node counts for this long: it reports every second, unless it is down.
_FRESH_S = 15.0
# As Ray 2.60 words them (raylet/scheduling/local_resource_manager.cc).
_RESOURCE, _BUSY_WORKERS = re.compile(r"Resource: (.+) currently in use\.?"), "Busy workers on node."


class Activities:
    """The latest report of each node, by launch name."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._latest: dict[str, tuple[float, Activity]] = {}
        self._unused_since: dict[str, float] = {}
        self._began = self._spoke_at = self._speaks_since = clock()

    def observe(self, activities: Mapping[str, Activity]) -> None:
        """What Ray says now."""
        now = self._clock()
        if now - self._spoke_at > _FRESH_S:
            self._speaks_since = now
        self._spoke_at = now
        for name, activity in activities.items():
            self._latest[name] = (now, activity)
            if activity.in_use:
                self._unused_since.pop(name, None)
            else:
                self._unused_since.setdefault(name, now)

    def unused(self) -> dict[str, tuple[float, str]]:
        """Since when, by fresh reports, a node's resources are not in use, and why Ray calls it busy all the same."""
        oldest = self._clock() - _FRESH_S
        fresh = {name: activity for name, (at, activity) in self._latest.items() if at >= oldest}
        return {n: (since, describe_reasons(fresh[n].reasons)) for n, since in self._unused_since.items() if n in fresh}

    def unreported(self, intents: Iterable[Intent]) -> dict[str, tuple[float, bool]]:
        """Nodes of which Ray says nothing: since when, and whether it speaks of its nodes at all.

        While it speaks, only the time since it began to counts: after its restart, nodes have as long to come back.
        """
        now = self._clock()
        speaks = now - self._spoke_at <= _FRESH_S
        found = {}
        for intent in intents:
            if intent.joined_at is not None:
                named_at = self._latest[intent.name][0] if intent.name in self._latest else self._began
                since = max(named_at, intent.joined_at, self._speaks_since if speaks else self._began)
                if now - since > _FRESH_S:
                    found[intent.name] = (since, speaks)
        return found

    def busy_with(self, name: str) -> str:
        """Why Ray called the node busy when it last said something of it."""
        return describe_reasons(self._latest[name][1].reasons) if name in self._latest else ""

    def forget(self, name: str) -> None:
        """The launch is over."""
        self._latest.pop(name, None)
        self._unused_since.pop(name, None)


def describe_reasons(reasons: Sequence[str]) -> str:
    """Ray's reasons for calling a node busy, in one short phrase: "CPU and GPU in use"."""
    used = [found[1] for reason in reasons if (found := _RESOURCE.fullmatch(reason))]
    words = [f"{' and '.join(used)} in use"] if used else []
    for reason in reasons:
        if reason == _BUSY_WORKERS:  # whoever uses resources is one of them
            words += [] if used else ["work without resources of its own"]
        elif not _RESOURCE.fullmatch(reason):
            words.append(reason.rstrip("."))
    return "; ".join(words)
