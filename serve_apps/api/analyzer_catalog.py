"""Which analyzers there are, as the API tells and checks it. What they do is in pipelines.analyzers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from serve_apps.analyses import Lane

CheckOptions = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class OptionInfo:
    """One option: what holds when nothing is said, and what is allowed, in words."""

    default: Any
    allowed: str


@dataclass(frozen=True)
class AnalyzerInfo:
    """One analyzer. `takes` is "frames" or "audio"."""

    name: str
    lane: Lane = Lane.GPU
    summary: str = ""
    takes: str = "frames"
    options: Mapping[str, OptionInfo] = field(default_factory=dict)


@dataclass(frozen=True)
class Catalog:
    """All analyzers. `check_options(name, given)` returns the values to use and raises ValueError for a wrong one."""

    analyzers: Mapping[str, AnalyzerInfo]
    check_options: CheckOptions

    def lane_of(self, name: str) -> Lane:
        """Where it runs. Raises KeyError for an unknown name."""
        return self.analyzers[name].lane
