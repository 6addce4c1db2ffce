"""A worker's side of the overlay: one outbound connection, over which it becomes a node and stays one.

The worker makes its own key. The first connection presents the join token and enrols that key, every later one shows
the key. While the hub cannot be reached the spoke tries again, for as long as the head's grace lasts.
"""

import asyncio
import contextlib
import logging
import random
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncssh

from autoscaler.errors import message_of
from autoscaler.worker_command import HubAddress
from cluster.overlay.addresses import NodeAddress
from cluster.overlay.backoff import pause_s
from cluster.overlay.control import COMMAND, ControlError, Enrolment, decode, encode, encode_enrolment
from cluster.overlay.peer_listeners import PeerListeners
from cluster.overlay.ssh import (
    ALGORITHMS,
    LOGIN_TIMEOUT_S,
    SILENCE_S,
    keepalive,
    key_knock,
    machine_identity,
    prepare_process,
    public_key_text,
    token_digest,
    token_knock,
)
from cluster.overlay.streams.congestion import Congestion
from cluster.overlay.streams.splice import PACKET_BYTES, WINDOW_BYTES, ChannelEnd, TcpEnd

_log = logging.getLogger(__name__)
_CONNECT_TIMEOUT_S = 10.0


class JoinRefused(RuntimeError):
    """The hub does not want this machine, or is not the hub: nothing that waiting would mend."""


class ToldToEnd(RuntimeError):
    """The head says that this machine is to end; the message says why."""


class HeadLost(RuntimeError):
    """The hub could not be reached for longer than the grace."""


@dataclass
class Spoke:
    """One per worker process. `join` first, then `stay` until the machine is to go."""

    hub: HubAddress
    name: str
    token: str
    key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))

    def __post_init__(self) -> None:
        self.address: NodeAddress | None = None
        self.silence_s = SILENCE_S
        self._connection: asyncssh.SSHClientConnection | None = None
        self._congestion: Congestion | None = None
        self._listeners = PeerListeners(self.open_stream)
        self._control: Any = None
        self._reports: list[Mapping[str, Any]] = []
        prepare_process()

    async def join(self, timeout_s: float) -> dict[str, Any]:
        """Enrol; returns the hub's grant. Tries again until `timeout_s`. Raises JoinRefused, HeadLost."""
        deadline = time.monotonic() + timeout_s
        return await self._until(deadline, f"no hub at {self.hub} within {timeout_s:.0f} s")

    async def stay(self, grace_s: float) -> None:
        """Keep the connection, dialling again whenever it breaks.

        Raises HeadLost after `grace_s`, JoinRefused, and ToldToEnd.
        """
        while True:
            with contextlib.suppress(asyncssh.Error, OSError, ControlError):
                await self._listen_to_hub()
            await self._hang_up()
            _log.warning("the hub is gone; dialling again for up to %.0f s", grace_s)
            await self._until(time.monotonic() + grace_s, f"the head was away for longer than {grace_s:.0f} s")

    async def close(self) -> None:
        """Hang up and stop listening."""
        self._listeners.follow([])
        await self._hang_up()

    def report(self, report: Mapping[str, Any]) -> None:
        """Tell the orchestrator; kept until the hub is there."""
        self._reports.append(report)
        if self._control is not None:
            self._send_reports()

    async def _until(self, deadline: float, else_why: str) -> dict[str, Any]:
        attempt = 0
        while True:
            attempt += 1
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline - time.monotonic()):
                    return await self._dial()
            except asyncssh.PermissionDenied as error:
                raise JoinRefused(f"the hub refuses {self.name}: its token or key is not accepted") from error
            except (asyncssh.Error, OSError, TimeoutError, ControlError) as error:
                await self._hang_up()
                if isinstance(error, asyncssh.HostKeyNotVerifiable) and self.address is None:
                    raise JoinRefused(f"whoever answers at {self.hub} is not our hub") from error
                reason = error
            pause = pause_s(attempt, random.random)
            if time.monotonic() + pause > deadline:
                raise HeadLost(f"{else_why}: {message_of(reason)}")
            await asyncio.sleep(pause)

    async def _dial(self) -> dict[str, Any]:
        """One connection, enrolled, with this node's ports offered."""
        connection = await self._connect()
        self._connection, self._congestion = connection, Congestion(connection)
        stdin, stdout, _stderr = await connection.open_session(COMMAND, encoding="utf-8")
        stdin.write(encode_enrolment(Enrolment(public_key_text(self.key), machine_identity())))
        reply = decode(await _line(stdout))
        if "refused" in reply:
            raise JoinRefused(f"the hub refuses {self.name}: {reply['refused']}")
        grant = dict(reply.get("grant") or {})
        self.address = NodeAddress(str(grant["host"]), int(grant["base_port"]))
        self.silence_s = float(grant["silence_s"])
        connection.set_keepalive(*keepalive(self.silence_s))
        await self._offer_ports(connection, self.address)
        self._control = (stdin, stdout)
        self._send_reports()
        return grant

    async def _connect(self) -> asyncssh.SSHClientConnection:
        path = self.hub.socket_path
        where = {"sock": _connected(path)} if path else {"host": self.hub.host, "port": self.hub.port}
        interval_s, count = keepalive(self.silence_s)
        connection, _client = await asyncssh.create_connection(
            lambda: _PinnedHub(self.hub.key_fingerprint),
            **where,
            client_version=f"AIMA_1 {token_knock(token_digest(self.token))} {key_knock(public_key_text(self.key))}",
            username=self.name,
            client_keys=[self.key],
            password=self.token if self.address is None else None,
            known_hosts=([], [], []),
            config=None,
            agent_path=None,
            server_host_key_algs=["ssh-ed25519"],
            preferred_auth=["publickey", "password"],
            connect_timeout=_CONNECT_TIMEOUT_S,
            login_timeout=LOGIN_TIMEOUT_S,
            **ALGORITHMS,
            keepalive_interval=interval_s,
            keepalive_count_max=count,
        )
        return connection

    async def _offer_ports(self, connection: asyncssh.SSHClientConnection, own: NodeAddress) -> None:
        """Let the hub open streams to this node's ports."""

        def accept(port: int) -> Any:
            return lambda _host, _port: self._deliver(own.host, port)

        offers = [
            connection.create_server(accept(port), own.host, port, window=WINDOW_BYTES, max_pktsize=PACKET_BYTES)
            for port in own.ports
        ]
        try:
            await asyncio.gather(*offers)
        except asyncssh.ChannelListenError as error:
            raise ControlError(f"the hub does not take this node's ports: {error}") from None

    async def _deliver(self, host: str, port: int) -> ChannelEnd:
        """A stream from elsewhere to a port of this node."""
        connection, congestion = self._connection, self._congestion
        assert connection is not None
        assert congestion is not None
        try:
            _transport, partner = await asyncio.get_running_loop().create_connection(TcpEnd, host, port)
        except OSError as error:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, str(error)) from None
        if connection.is_closed():  # asyncssh forgets what is opened for a hub that has gone
            partner.abort()
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the hub has gone")
        return ChannelEnd(congestion, partner)

    async def open_stream(self, host: str, port: int) -> ChannelEnd:
        """A stream to another node. Raises OSError while the hub is away, asyncssh.Error when it is refused."""
        if self._connection is None or self._congestion is None:
            raise OSError("the hub is away")
        end = ChannelEnd(self._congestion)
        try:
            await self._connection.create_connection(
                lambda: end, host, port, window=WINDOW_BYTES, max_pktsize=PACKET_BYTES
            )
        except AssertionError:  # asyncssh's word for a connection that ends at this very moment
            raise OSError("the hub has gone") from None
        return end

    async def _listen_to_hub(self) -> None:
        _stdin, stdout = self._control
        while line := await _line(stdout):
            message = decode(line)
            if "end" in message:
                raise ToldToEnd(f"the head says that it is to end: {message['end']}")
            if isinstance(peers := message.get("peers"), list):
                self._listeners.follow([NodeAddress(str(p["host"]), int(p["base_port"])) for p in peers])

    def _send_reports(self) -> None:
        stdin, _stdout = self._control
        for report in self._reports:
            stdin.write(encode({"report": report}))
        self._reports.clear()

    async def _hang_up(self) -> None:
        connection, self._connection, self._congestion, self._control = self._connection, None, None, None
        if connection is not None:
            connection.abort()
            with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await connection.wait_closed()


class _PinnedHub(asyncssh.SSHClient):
    """Accepts one host key, and that only."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Whether the key is the pinned one."""
        return key.get_fingerprint() == self._fingerprint


async def _line(stdout: asyncssh.SSHReader[str]) -> str:
    line = await stdout.readline()
    return line if line.endswith("\n") else ""


def _connected(path: str) -> socket.socket:
    """A connection to the hub of this very machine. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    connection.setblocking(False)
    return connection
