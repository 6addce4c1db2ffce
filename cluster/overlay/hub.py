"""The head's side of the overlay: one port, to which every rented machine dials in.

For each enrolled node the hub listens at the node's address on this machine and carries what arrives through the
node's own SSH connection; a node's connections to others come the other way. Who may do what is authorisation.py's
to say, who is who the doorkeeper's. Listeners stay while a node is away for a moment: what dials it meanwhile waits.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncssh

from cluster.overlay.addresses import NodeAddress
from cluster.overlay.arrivals.door import Door, Visit, listening_sockets, unix_listener
from cluster.overlay.arrivals.doorkeeper import Doorkeeper
from cluster.overlay.hub_connection import HubConnection, Node
from cluster.overlay.ssh import (
    ALGORITHMS,
    LOGIN_TIMEOUT_S,
    SILENCE_S,
    keepalive,
    machine_identity,
    prepare_process,
)
from cluster.overlay.streams.memory import DEFAULT_BYTES, StreamMemory, StreamRefused
from cluster.overlay.streams.splice import ChannelEnd, TcpEnd
from pipelines.files import write_atomically

_log = logging.getLogger(__name__)
# How long a stream to a node that is away waits for it, before it is refused.
_AWAY_TIMEOUT_S = 60.0


class NotOurs(OSError):
    """Another program listens where a node of the cluster was looked for."""


class Hub:
    """One per cluster; lives in its owner's event loop."""

    def __init__(
        self,
        head: NodeAddress,
        host_key: asyncssh.SSHKey,
        doorkeeper: Doorkeeper,
        silence_s: float = SILENCE_S,
        stream_bytes: int = DEFAULT_BYTES,
        is_own: Callable[[str, int], Awaitable[bool]] | None = None,
    ) -> None:
        """`is_own` tells whether a port of this machine is served by the cluster alone; without it, all are."""
        self.head, self.doorkeeper, self._silence_s, self._is_own = head, doorkeeper, silence_s, is_own
        self.nodes: dict[str, Node] = {}
        self.memory = StreamMemory(stream_bytes, lambda: len(self.nodes))
        self._connections: set[HubConnection] = set()
        self._door = Door(doorkeeper.awaits, self._welcome)
        self._machine = machine_identity()
        self._host_key = host_key
        self._ssh: asyncssh.SSHServerConnectionOptions | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def fingerprint(self) -> str:
        """The host key's fingerprint, which every worker is told to expect."""
        return str(self._host_key.get_fingerprint())

    async def start(self, host: str, port: int, socket_path: Path | None = None) -> int:
        """Listen on `host`:`port` (0 picks one) and, for workers of this machine, on a Unix socket; returns the port.

        Raises OSError when the port is taken.
        """
        prepare_process()
        self._ssh = await asyncssh.SSHServerConnectionOptions.construct(None, config=(), **self._options())
        sockets = listening_sockets(host, port)
        if socket_path is not None:
            sockets.append(unix_listener(socket_path))
        for listener in sockets:
            self._door.listen(listener)
        return int(sockets[0].getsockname()[1])

    def _options(self) -> dict[str, Any]:
        interval_s, count = keepalive(self._silence_s)
        return {
            "server_factory": lambda: HubConnection(self),
            "server_host_keys": [self._host_key],
            "login_timeout": LOGIN_TIMEOUT_S,
            "allow_pty": False,
            "agent_forwarding": False,
            "x11_forwarding": False,
            "sftp_factory": None,
            "line_editor": False,
            **ALGORITHMS,
            "keepalive_interval": interval_s,
            "keepalive_count_max": count,
        }

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        self._door.close()
        for name in list(self.nodes):
            self.forget(name)
        for connection in list(self._connections):
            connection.abort()
        for task in list(self._tasks):
            task.cancel()

    @property
    def unknown(self) -> int:
        """How many connections have not shown who they are."""
        return self._door.unknown

    def _welcome(self, visit: Visit) -> None:
        """Begin SSH with somebody whom the door lets through."""
        loop = asyncio.get_running_loop()
        assert self._ssh is not None
        connection = asyncssh.SSHServerConnection(loop, self._ssh)
        connection.set_extra_info(visit=visit)
        visit.cut = connection.abort
        self._start(loop.connect_accepted_socket(lambda: connection, visit.connection))

    def _start(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def arrived(self, connection: HubConnection) -> None:
        """SSH has begun with somebody."""
        self._connections.add(connection)

    def left(self, connection: HubConnection) -> None:
        """It has gone."""
        self._connections.discard(connection)

    async def admit(self, name: str, address: NodeAddress, machine: str) -> Node:
        """Make an enrolled node reachable on this machine; nothing new for a known one."""
        if name not in self.nodes:
            node = Node(name, address, machine, shared=machine == self._machine)
            self.nodes[name] = node
            if not node.shared:
                await self._listen_for(node)
            self._tell_peers()
        return self.nodes[name]

    def forget(self, name: str) -> None:
        """The node is over: its connection, its listeners and what it may do end now."""
        node = self.nodes.pop(name, None)
        if node is None:
            return
        for server in node.servers:
            server.close()
        if node.connection is not None:
            node.connection.abort()
        self._tell_peers()

    def tell_to_end(self, name: str, reason: str) -> bool:
        """Tell the node to end its own instance; False while it is away."""
        node = self.nodes.get(name)
        if node is None or node.connection is None:
            return False
        node.connection.tell({"end": reason})
        return True

    def connected(self, node: Node, connection: HubConnection) -> None:
        """The node has dialled in; an older connection of its own is dead, whether it knows it or not."""
        older, node.connection = node.connection, connection
        if older is not None:
            older.abort()
        node.up.set()
        connection.tell({"peers": self._peers(node)})

    def disconnected(self, node: Node, connection: HubConnection) -> None:
        """The node is away."""
        if node.connection is connection:
            node.connection = None
            node.up.clear()

    async def open_stream(self, node: Node, port: int, payer: str | None = None) -> ChannelEnd | TcpEnd:
        """A stream to a node's port, waiting for a node that is away. It counts as `payer`'s, else as the node's.

        Raises OSError (StreamRefused when there is no room) or asyncssh.ChannelOpenError.
        """
        if node.shared:
            return await self._connect(node.address.host, port)
        async with asyncio.timeout(_AWAY_TIMEOUT_S):
            await node.up.wait()
            assert node.connection is not None
            return await node.connection.open_channel(node.address.host, port, payer)

    async def reach(self, host: str, port: int, payer: str) -> ChannelEnd | TcpEnd:
        """A stream to an address of the overlay. Raises like `open_stream`, and OSError for nobody's address."""
        try:
            if host == self.head.host:
                return await self._connect(host, port)
            for node in self.nodes.values():
                if node.address.host == host:
                    return await self.open_stream(node, port, payer)
        except NotOurs as error:
            self.doorkeeper.refused(payer, f"it may not connect: {error}")
            raise
        raise OSError(f"no node has the address {host}")

    async def _connect(self, host: str, port: int) -> TcpEnd:
        """A connection to a port of this machine, if nobody but the cluster listens there. Raises OSError."""
        if self._is_own is not None and not await self._is_own(host, port):
            raise NotOurs(f"{host}:{port} is served by another program of the head's machine")
        _transport, end = await asyncio.get_running_loop().create_connection(TcpEnd, host, port)
        return end

    def _peers(self, node: Node) -> list[dict[str, Any]]:
        """Whom the node has to listen for: all that its own machine does not reach by itself."""
        peers = [(self.head, self._machine)]
        peers += [(n.address, n.machine) for n in self.nodes.values() if n is not node]
        # A node in the hub's own namespace finds the hub's listeners there.
        elsewhere = [] if node.shared else [a for a, machine in peers if machine != node.machine]
        return [{"host": address.host, "base_port": address.base_port} for address in elsewhere]

    def _tell_peers(self) -> None:
        for node in self.nodes.values():
            if node.connection is not None:
                node.connection.tell({"peers": self._peers(node)})

    async def _listen_for(self, node: Node) -> None:
        loop = asyncio.get_running_loop()
        for port in node.address.ports:
            accept = _acceptor(self, node, port)
            try:
                node.servers.append(await loop.create_server(accept, node.address.host, port, backlog=64))
            except OSError as error:  # somebody sits on this one port: the others work
                _log.error("%s: port %s of %s cannot be offered: %s", node.name, port, node.address.host, error)

    def carry(self, end: TcpEnd, node: Node, port: int) -> None:
        """Carry an accepted connection to the node's port."""
        self._start(self._carry(end, node, port))

    async def _carry(self, end: TcpEnd, node: Node, port: int) -> None:
        try:
            (await self.open_stream(node, port)).join(end)
        except (OSError, TimeoutError, asyncssh.Error) as error:
            if isinstance(error, StreamRefused):
                self.doorkeeper.refused(node.name, f"no room for another stream to it: {error}")
            end.abort()


def _acceptor(hub: Hub, node: Node, port: int) -> Any:
    class Accepted(TcpEnd):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            hub.carry(self, node, port)

    return Accepted


def load_host_key(path: Path) -> asyncssh.SSHKey:
    """The hub's key, made on first use and readable by this user only."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = asyncssh.generate_private_key("ssh-ed25519")
        write_atomically(path, [key.export_private_key()], mode=0o600)
    return asyncssh.read_private_key(str(path))
