"""How many bytes the hub may spend on streams, and whose they are.

The hub has one budget. Half of it is guaranteed to its nodes in equal parts, the other half is for whoever asks
first, and no node holds more than a third of all. So colluding nodes can fill neither the hub's memory nor the part
of an honest one. What a stream may hold is reserved when it opens, grows while data flows through it, and is given
back when it is over.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

# What a new channel may hold: its window twice (read, and granted anew), a write buffer and a chunk that was read for
# it, and asyncssh's own objects.
FIRST_WINDOW_BYTES = 8 * 1024
CHANNEL_BYTES = 2 * FIRST_WINDOW_BYTES + 8 * 1024 + FIRST_WINDOW_BYTES + 20 * 1024
# Ray's busiest nodes hold some hundred connections: 52 worker processes, each with a few.
MAX_CHANNELS = 512
DEFAULT_BYTES = 96 * 1024**2
_LARGEST_SHARE = 3


class StreamRefused(OSError):
    """There is no room for another stream; the message says whose limit is reached."""


@dataclass
class _Use:
    """What one node holds."""

    bytes: int = 0
    channels: int = 0


class StreamMemory:
    """The budget. `nodes` tells how many nodes share the guaranteed half now."""

    def __init__(self, total_bytes: int = DEFAULT_BYTES, nodes: Callable[[], int] = lambda: 1) -> None:
        self._total, self._nodes = total_bytes, nodes
        self._used: dict[str, _Use] = {}

    def open(self, node: str) -> "Lease":
        """Reserve what a new channel needs, at the charge of `node`. Raises StreamRefused."""
        used = self._used.get(node, _Use())
        if used.channels >= MAX_CHANNELS:
            raise StreamRefused(f"{node} has {used.channels} streams open, of at most {MAX_CHANNELS}")
        if why := self._lacks(node, CHANNEL_BYTES):
            raise StreamRefused(why)
        lease = Lease(self, node)
        self.charge(node, CHANNEL_BYTES, 1)
        return lease

    def fits(self, node: str, more_bytes: int) -> bool:
        """Whether `node` may hold that much more."""
        return not self._lacks(node, more_bytes)

    def charge(self, node: str, more_bytes: int, channels: int = 0) -> None:
        """`node` holds that much more or, of negative numbers, less."""
        used = self._used.setdefault(node, _Use())
        used.bytes, used.channels = used.bytes + more_bytes, used.channels + channels
        if not used.channels:
            del self._used[node]

    @property
    def used_bytes(self) -> int:
        """What all nodes hold."""
        return sum(used.bytes for used in self._used.values())

    @property
    def channels(self) -> int:
        """How many channels there are."""
        return sum(used.channels for used in self._used.values())

    def _lacks(self, node: str, more_bytes: int) -> str:
        """Why `node` may not hold that much more; empty when it may."""
        used = self._used.get(node, _Use()).bytes
        after, largest = used + more_bytes, self._total // _LARGEST_SHARE
        if after > largest:
            return f"{node} would hold {_mib(after)} of the hub's memory for streams, of at most {_mib(largest)}"
        guaranteed = self._total // 2 // max(1, self._nodes())
        if after <= guaranteed:
            return ""
        spoken_for = sum(max(0, guaranteed - each.bytes) for name, each in self._used.items() if name != node)
        spoken_for += guaranteed * max(0, self._nodes() - len(self._used.keys() | {node}))
        if self.used_bytes + more_bytes + spoken_for > self._total:
            return f"the hub's {_mib(self._total)} for streams are in use, and {node} has its part, {_mib(guaranteed)}"
        return ""


@dataclass(eq=False)
class Lease:
    """What one channel may hold."""

    memory: StreamMemory
    node: str
    _bytes: int = field(default=CHANNEL_BYTES)
    _channels: int = 1

    def grow(self, more_bytes: int) -> bool:
        """Reserve more; False when there is no room."""
        if not self._channels or not self.memory.fits(self.node, more_bytes):
            return False
        self.shrink(-more_bytes)
        return True

    def shrink(self, fewer_bytes: int) -> None:
        """Give a part back."""
        if self._channels:
            self._bytes -= fewer_bytes
            self.memory.charge(self.node, -fewer_bytes)

    def charge_to(self, node: str) -> None:
        """From now on it is held at the charge of `node`, because only `node` keeps it from being over."""
        self.memory.charge(self.node, -self._bytes, -self._channels)
        self.node = node
        self.memory.charge(node, self._bytes, self._channels)

    def release(self) -> None:
        """The channel is over."""
        self.memory.charge(self.node, -self._bytes, -self._channels)
        self._bytes = self._channels = 0


def _mib(count: int) -> str:
    return f"{count / 1024**2:.1f} MiB"
