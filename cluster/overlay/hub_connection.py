"""One machine's SSH connection, as the hub sees it: who it is, and each thing it asks for, allowed or not."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import asyncssh

from cluster.overlay.addresses import NodeAddress
from cluster.overlay.arrivals.door import Visit
from cluster.overlay.arrivals.doorkeeper import Doorkeeper
from cluster.overlay.authorisation import may_listen, reachable
from cluster.overlay.control import COMMAND, ControlError, Enrolment, decode, decode_enrolment, encode
from cluster.overlay.ssh import LOGIN_TIMEOUT_S, public_key_text
from cluster.overlay.streams.channels import StreamChannel, bound_control_channel
from cluster.overlay.streams.congestion import Congestion
from cluster.overlay.streams.memory import StreamMemory, StreamRefused
from cluster.overlay.streams.splice import ChannelEnd, TcpEnd

_log = logging.getLogger(__name__)
# An honest machine reports a dozen times in its life, in lines of a hundred characters.
_MAX_REPORTS, _MAX_LINE = 100, 4096
_MAX_PASSWORDS = 3
_CONTROL_WINDOW_BYTES, _CONTROL_PACKET_BYTES = 64 * 1024, 32 * 1024
# A machine that does not read what it is told is cut off before it costs memory.
_MAX_UNREAD_BYTES = 1024**2


@dataclass
class Node:
    """An enrolled node. `shared`: it lives in the hub's own network namespace and is reached without the hub."""

    name: str
    address: NodeAddress
    machine: str
    shared: bool
    connection: "HubConnection | None" = None
    up: asyncio.Event = field(default_factory=asyncio.Event)
    servers: list[asyncio.Server] = field(default_factory=list)


class Registry(Protocol):
    """What a connection asks of its hub, and tells it."""

    doorkeeper: Doorkeeper
    head: NodeAddress
    nodes: dict[str, Node]
    memory: StreamMemory

    def arrived(self, connection: "HubConnection") -> None: ...

    def left(self, connection: "HubConnection") -> None: ...

    def connected(self, node: Node, connection: "HubConnection") -> None: ...

    def disconnected(self, node: Node, connection: "HubConnection") -> None: ...

    async def reach(self, host: str, port: int, payer: str) -> ChannelEnd | TcpEnd: ...


class HubConnection(asyncssh.SSHServer):
    """From the first byte to the last. Until `node` is set, nothing but enrolling is allowed."""

    def __init__(self, hub: Registry) -> None:
        self._hub = hub
        self._name, self._token = "", ""
        self._node: Node | None = None
        self._control: asyncssh.SSHWriter[str] | None = None
        self._control_requested = False
        self._passwords = 0
        self._opening: set[asyncio.Task[Any]] = set()
        self._gone = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Somebody has dialled."""
        self._connection, self._congestion = conn, Congestion(conn, both_ways=True)
        self._visit: Visit = conn.get_extra_info("visit")
        self._hub.arrived(self)
        if self._visit not in self._visit.crowd:  # it had to go meanwhile
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone, and with it whatever it was about to open."""
        self._gone = True
        for task in list(self._opening):
            task.cancel()
        self._enrolled_in_time()
        self._visit.over()
        self._hub.left(self)
        if self._node is not None:
            self._hub.disconnected(self._node, self)

    def abort(self) -> None:
        """Cut it now."""
        self._connection.abort()

    def begin_auth(self, username: str) -> bool:
        """The user's name is the launch's."""
        self._name = username
        return True

    def public_key_auth_supported(self) -> bool:
        """A node that has enrolled shows its key."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether this key has been enrolled for this launch."""
        return self._hub.doorkeeper.knows(username, public_key_text(key))

    def password_auth_supported(self) -> bool:
        """A machine that has not shows its join token."""
        return True

    def validate_password(self, username: str, password: str) -> bool:
        """Whether the token may enrol; it is used up when it has."""
        self._token = password
        self._passwords += 1
        if self._passwords > _MAX_PASSWORDS:
            self.abort()
            return False
        if self._hub.doorkeeper.expects(username, password):
            return True
        self._hub.doorkeeper.refused(username, "its join token is wrong, used or expired")
        return False

    def auth_completed(self) -> None:
        """Known by name from here on. A machine that does not enrol then has no business here."""
        self._visit.over()
        self._deadline = asyncio.get_running_loop().call_later(LOGIN_TIMEOUT_S, self.abort)

    def _enrolled_in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def session_requested(self) -> Any:
        """The control session; only one."""
        if self._control_requested:
            return False
        self._control_requested = True
        channel = self._connection.create_server_channel(
            "utf-8", "strict", _CONTROL_WINDOW_BYTES, _CONTROL_PACKET_BYTES
        )
        return bound_control_channel(channel), self._serve_control

    async def _serve_control(
        self, stdin: asyncssh.SSHReader[str], stdout: asyncssh.SSHWriter[str], _stderr: asyncssh.SSHWriter[str]
    ) -> None:
        try:
            if stdin.channel.get_command() != COMMAND:
                raise ControlError("another protocol, or another version of it")
            enrolment = decode_enrolment(await _line(stdin))
            if await self._enrol(enrolment, stdout):
                await self._listen_to(stdin)
                self.abort()
        except ControlError as error:
            self._hub.doorkeeper.refused(self._name, f"it does not keep to the protocol: {error}")
            self.abort()

    async def _enrol(self, enrolment: Enrolment, stdout: asyncssh.SSHWriter[str]) -> bool:
        try:
            grant = await self._hub.doorkeeper.enrol(self._name, self._token or None, enrolment)
        except PermissionError as error:
            stdout.write(encode({"refused": str(error)}))
            stdout.write_eof()
            return False
        if self._gone:  # it is enrolled, but not here
            return False
        self._control = stdout
        self._node = self._hub.nodes[self._name]
        self._enrolled_in_time()
        stdout.write(encode({"grant": grant}))
        self._hub.connected(self._node, self)
        return True

    async def _listen_to(self, stdin: asyncssh.SSHReader[str]) -> None:
        reports = 0
        while line := await _line(stdin):
            reports += 1
            if reports > _MAX_REPORTS:
                raise ControlError(f"more than {_MAX_REPORTS} reports over one connection")
            report = decode(line).get("report")
            if isinstance(report, dict):
                self._hub.doorkeeper.reported(self._name, report)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send the spoke a message."""
        if self._control is None:
            return
        if self._control.channel.get_write_buffer_size() > _MAX_UNREAD_BYTES:
            _log.warning("%s does not read what it is told and is cut off", self._name)
            self.abort()
            return
        self._control.write(encode(message))

    async def open_channel(self, host: str, port: int, payer: str | None = None) -> ChannelEnd:
        """A stream to this machine's port, which counts as `payer`'s, else as its own.

        Raises StreamRefused or asyncssh.ChannelOpenError. Given up meanwhile, it leaves nothing behind.
        """
        channel = self._new_channel(payer or self._name)
        end = ChannelEnd(self._congestion)
        try:
            await channel.accept(lambda: end, host, port, "", 0)
        except BaseException as error:
            channel.give_up()
            self._congestion.discard(end)
            if isinstance(error, AssertionError):  # asyncssh's word for a connection that ends at this very moment
                raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "its connection has ended") from None
            raise
        return end

    def _new_channel(self, payer: str) -> StreamChannel:
        lease = self._hub.memory.open(payer)
        try:
            return StreamChannel(self._connection, self._name, lease)
        except asyncssh.ChannelOpenError:
            lease.release()
            raise

    def server_requested(self, listen_host: str, listen_port: int) -> Any:
        """The machine offers a port. The hub listens for its node by itself, so this only says yes or no."""
        node = self._node
        return _Offered() if node is not None and may_listen(node.address, listen_host, listen_port) else False

    def unix_server_requested(self, listen_path: str) -> bool:
        """Never."""
        return False

    def unix_connection_requested(self, dest_path: str) -> bool:
        """Never."""
        return False

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        """The machine connects to another node: carried if that is all it is, refused otherwise."""
        node = self._node
        others = [n.address for n in self._hub.nodes.values()]
        if node is None or not reachable(node.address, self._hub.head, others, dest_host, dest_port):
            if (dest_host, dest_port) != (
                self._hub.head.host,
                self._hub.head.dashboard_port,
            ):  # Ray's agents look there
                self._hub.doorkeeper.refused(self._name, f"it may not connect to {dest_host}:{dest_port}")
            return False
        try:
            channel = self._new_channel(self._name)
        except StreamRefused as error:
            self._hub.doorkeeper.refused(self._name, f"no room for another stream: {error}")
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, str(error)) from None
        return channel, self._reach(dest_host, dest_port)

    async def _reach(self, host: str, port: int) -> ChannelEnd:
        task = asyncio.current_task()
        assert task is not None
        self._opening.add(task)
        try:
            partner = await self._hub.reach(host, port, self._name)
        except (OSError, TimeoutError, asyncssh.Error) as error:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, str(error)) from None
        finally:
            self._opening.discard(task)
        if self._gone:  # asyncssh forgets what is opened for a client that has left
            partner.abort()
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "its client has left")
        return ChannelEnd(self._congestion, partner)


class _Offered(asyncssh.SSHListener):
    """A granted offer; closing it changes nothing, since the hub's own listener stays."""

    async def wait_closed(self) -> None:
        """Closed already."""


async def _line(stdin: asyncssh.SSHReader[str]) -> str:
    """The next line; empty at the end. A line that never ends is never read further than the session's window."""
    try:
        line = await stdin.readline()
    except asyncssh.Error:
        return ""
    if len(line) > _MAX_LINE:
        raise ControlError(f"a line of {len(line)} characters, of at most {_MAX_LINE}")
    return line if line.endswith("\n") else ""
