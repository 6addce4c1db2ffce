"""Which loopback address and which ports each Ray node uses (DESIGN.md, decision 1).

Ray binds the wildcard address for some of its ports, so nodes that share a machine need disjoint ports as well
as their own addresses. Every node gets one address in 127.77.0.0/16 and one block of 64 ports that lies below
Linux's ephemeral range, where no outgoing connection can take a port away.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

BLOCK_SIZE = 64
FIRST_PORT = 10_000
LAST_PORT = 32_767
BLOCKS = (LAST_PORT + 1 - FIRST_PORT) // BLOCK_SIZE
# How long a block rests after its node: longer than anybody still dials the old one.
QUARANTINE_S = 900.0
_NAMED_PORTS = 12


class AddressesExhausted(RuntimeError):
    """No port block is free on this machine."""


@dataclass(frozen=True)
class NodeAddress:
    """A node's address and the first of its 64 ports; every port of Ray is pinned inside the block."""

    host: str
    base_port: int

    @property
    def gcs_port(self) -> int:
        return self.base_port

    @property
    def dashboard_port(self) -> int:
        return self.base_port + 1

    @property
    def client_port(self) -> int:
        return self.base_port + 2

    @property
    def node_manager_port(self) -> int:
        return self.base_port + 3

    @property
    def orchestrator_port(self) -> int:
        return self.base_port + 9

    @property
    def http_port(self) -> int:
        return self.base_port + 10

    @property
    def hub_port(self) -> int:
        return self.base_port + 11

    @property
    def gcs_address(self) -> str:
        return f"{self.host}:{self.gcs_port}"

    @property
    def block(self) -> int:
        """The number of the block, as given to `node_address`."""
        return (self.base_port - FIRST_PORT) // BLOCK_SIZE

    @property
    def ports(self) -> range:
        """Every port of the block."""
        return range(self.base_port, self.base_port + BLOCK_SIZE)

    @property
    def head_ports(self) -> tuple[int, ...]:
        """Of a head's ports, those that other Ray nodes dial: GCS, node and object manager, and its processes'."""
        return (
            self.gcs_port,
            self.node_manager_port,
            self.node_manager_port + 1,
            *range(self.base_port + _NAMED_PORTS, self.base_port + BLOCK_SIZE),
        )

    def ray_start_flags(self) -> tuple[str, ...]:
        """The `ray start` flags that keep every port of a node inside its block."""
        return (
            f"--node-ip-address={self.host}",
            f"--node-manager-port={self.node_manager_port}",
            f"--object-manager-port={self.base_port + 4}",
            f"--dashboard-agent-grpc-port={self.base_port + 5}",
            f"--dashboard-agent-listen-port={self.base_port + 6}",
            f"--runtime-env-agent-port={self.base_port + 7}",
            f"--metrics-export-port={self.base_port + 8}",
            f"--min-worker-port={self.base_port + _NAMED_PORTS}",
            f"--max-worker-port={self.base_port + BLOCK_SIZE - 1}",
        )


def node_address(block: int) -> NodeAddress:
    """The address of block number `block` (0 <= block < BLOCKS); 127.77.0.1 is block 0."""
    if not 0 <= block < BLOCKS:
        raise ValueError(f"block {block} is outside 0..{BLOCKS - 1}")
    high, low = divmod(block, 250)
    return NodeAddress(f"127.77.{high}.{low + 1}", FIRST_PORT + BLOCK_SIZE * block)


def first_free(start: int, is_free: Callable[[NodeAddress], bool]) -> NodeAddress:
    """The first free block at or after `start`, going round once. Raises AddressesExhausted."""
    for step in range(BLOCKS):
        candidate = node_address((start + step) % BLOCKS)
        if is_free(candidate):
            return candidate
    raise AddressesExhausted(f"all {BLOCKS} port blocks between {FIRST_PORT} and {LAST_PORT} are in use")


class Addresses:
    """Which launch has which block. A block that was given back rests for QUARANTINE_S before it is given again.

    `head` is never given. Times are seconds of any one clock. `held` is what is given already, by launch name.
    """

    def __init__(self, head: NodeAddress, held: Mapping[str, NodeAddress] | None = None) -> None:
        self._head = head
        self._held = dict(held or {})
        self._resting: dict[NodeAddress, float] = {}
        self._next = max((a.block for a in (head, *self._held.values())), default=0) + 1

    def acquire(self, name: str, now: float, is_free: Callable[[NodeAddress], bool]) -> NodeAddress:
        """The block of `name`: its own if it has one, else the next that nobody has. Raises AddressesExhausted."""
        if name in self._held:
            return self._held[name]
        self._resting = {address: until for address, until in self._resting.items() if until > now}
        taken = {self._head, *self._held.values(), *self._resting}
        address = first_free(self._next % BLOCKS, lambda a: a not in taken and is_free(a))
        self._next = address.block + 1
        self._held[name] = address
        return address

    def release(self, name: str, now: float) -> None:
        """`name` is over; unknown names are ignored."""
        address = self._held.pop(name, None)
        if address is not None:
            self._resting[address] = now + QUARANTINE_S

    @property
    def held(self) -> Mapping[str, NodeAddress]:
        """What is given, by launch name."""
        return self._held
