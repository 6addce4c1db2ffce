"""One machine's SSH connection, as the hub sees it: who it is, and each thing it asks for, allowed or not."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import asyncssh

from cluster.overlay.authorisation import may_listen, reachable
from cluster.overlay.control import COMMAND, ControlError, Enrolment, decode, decode_enrolment, encode
from cluster.overlay.splice import PACKET_BYTES, WINDOW_BYTES, ChannelEnd, Congestion
from cluster.overlay.ssh import public_key_text

if TYPE_CHECKING:
    from cluster.overlay.hub import Hub, Node

_log = logging.getLogger(__name__)
_MAX_STREAMS = 4096
# A machine that does not read what it is told is cut off before it costs memory.
_MAX_UNREAD_BYTES = 1024**2


class HubConnection(asyncssh.SSHServer):
    """From the first byte to the last. Until `node` is set, nothing but enrolling is allowed."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._name, self._token = "", ""
        self._node: Node | None = None
        self._control: asyncssh.SSHWriter[str] | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Somebody has dialled."""
        self._connection, self._congestion = conn, Congestion(conn)
        self._hub.knocked(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        self._hub.known(self)
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
        if self._hub.doorkeeper.expects(username, password):
            return True
        self._hub.doorkeeper.refused(username, "its join token is wrong, used or expired")
        return False

    def auth_completed(self) -> None:
        """Known by name from here on."""
        self._hub.known(self)

    def session_requested(self) -> Any:
        """The control session; only one."""
        return self._serve_control if self._control is None else False

    async def _serve_control(
        self, stdin: asyncssh.SSHReader[str], stdout: asyncssh.SSHWriter[str], _stderr: asyncssh.SSHWriter[str]
    ) -> None:
        try:
            if stdin.channel.get_command() != COMMAND:
                raise ControlError("another protocol, or another version of it")
            enrolment = decode_enrolment(await _line(stdin))
            if await self._enrol(enrolment, stdout):
                await self._listen_to(stdin)
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
        self._control = stdout
        self._node = self._hub.nodes[self._name]
        stdout.write(encode({"grant": grant}))
        self._hub.connected(self._node, self)
        return True

    async def _listen_to(self, stdin: asyncssh.SSHReader[str]) -> None:
        while line := await _line(stdin):
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

    async def open_channel(self, host: str, port: int) -> ChannelEnd:
        """A stream to this machine's port. Raises asyncssh.ChannelOpenError."""
        _channel, end = await self._connection.create_connection(
            lambda: ChannelEnd(self._congestion), host, port, window=WINDOW_BYTES, max_pktsize=PACKET_BYTES
        )
        assert isinstance(end, ChannelEnd)
        return end

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
        if len(self._congestion) >= _MAX_STREAMS:
            return False
        channel = self._connection.create_tcp_channel(window=WINDOW_BYTES, max_pktsize=PACKET_BYTES)
        return channel, self._reach(dest_host, dest_port)

    async def _reach(self, host: str, port: int) -> ChannelEnd:
        try:
            partner = await self._hub.reach(host, port)
        except (OSError, TimeoutError, asyncssh.Error) as error:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, str(error)) from None
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
    return line if line.endswith("\n") else ""
