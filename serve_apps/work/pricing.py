"""How segments are run, as far as it decides what an analysis costs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from serve_apps.analyses import Lane


@dataclass(frozen=True)
class Pricing:
    """The idle seconds that are billed; seconds of media that are worth a worker each; workers at most."""

    idle_limit_s: float = 5.0
    media_s_per_worker: float = 300.0
    max_workers: Mapping[Lane, int] = field(default_factory=lambda: {Lane.GPU: 1, Lane.CPU: 1})
