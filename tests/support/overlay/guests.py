"""A hub in this process, and guests that dial it and speak SSH for themselves, well or badly."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import asyncssh

from cluster.overlay.addresses import NodeAddress, node_address
from cluster.overlay.control import COMMAND, Enrolment, decode, encode_enrolment
from cluster.overlay.hub import Hub
from cluster.overlay.ssh import ALGORITHMS, public_key_text, token_digest, token_knock

HEAD = node_address(250)  # far from what a cluster on this machine would take


class OpenDoor:
    """A doorkeeper that knows nodes a, b, c ... by the token `let <name> in`, and keeps what it hears."""

    def __init__(self) -> None:
        self.hub: Hub | None = None
        self.keys: dict[str, str] = {}
        self.refusals: list[tuple[str, str]] = []
        self.reports: list[tuple[str, Mapping[str, Any]]] = []

    def awaits(self, knock: str) -> bool:
        return knock in {token_knock(token_digest(f"let {name} in")) for name in "ab"}

    def expects(self, name: str, token: str) -> bool:
        return token == f"let {name} in"

    def knows(self, name: str, public_key: str) -> bool:
        return self.keys.get(name) == public_key

    async def enrol(self, name: str, _token: str | None, enrolment: Enrolment) -> Mapping[str, Any]:
        self.keys[name] = enrolment.public_key
        assert self.hub is not None
        address = address_of(name)
        await self.hub.admit(name, address, enrolment.machine)
        return {"host": address.host, "base_port": address.base_port, "silence_s": 90}

    def reported(self, name: str, report: Mapping[str, Any]) -> None:
        self.reports.append((name, report))

    def refused(self, name: str, why: str) -> None:
        self.refusals.append((name, why))


def address_of(name: str) -> NodeAddress:
    """Where the hub makes the node reachable."""
    return node_address(200 + ord(name))


@contextlib.asynccontextmanager
async def hub(directory: Path, **settings: Any) -> AsyncIterator[tuple[Hub, OpenDoor]]:
    """A hub at `directory`/hub.sock, until the block ends."""
    door = OpenDoor()
    door.hub = made = Hub(HEAD, asyncssh.generate_private_key("ssh-ed25519"), door, **settings)
    await made.start("127.0.0.1", 0, directory / "hub.sock")
    try:
        yield made, door
    finally:
        await made.close()
        await asyncio.sleep(0)


def connected(directory: Path) -> socket.socket:
    """A bare connection to the hub."""
    made = socket.socket(socket.AF_UNIX)
    made.connect(str(directory / "hub.sock"))
    made.setblocking(False)
    return made


async def dial(directory: Path, name: str, token: str = "", **options: Any) -> asyncssh.SSHClientConnection:
    """An authenticated connection that has not enrolled."""
    return await asyncssh.connect(
        sock=connected(directory),
        client_version=f"guest_1 {token_knock(token_digest(f'let {name} in'))}",
        username=name,
        password=token or f"let {name} in",
        client_keys=None,
        known_hosts=None,
        config=None,
        agent_path=None,
        **ALGORITHMS,
        **options,
    )


async def join(directory: Path, name: str) -> asyncssh.SSHClientConnection:
    """A connection that has enrolled and offers every port of its node; what arrives there is answered by `accept`."""
    connection = await dial(directory, name)
    stdin, stdout, _ = await connection.open_session(COMMAND, encoding="utf-8")
    key = public_key_text(asyncssh.generate_private_key("ssh-ed25519"))
    stdin.write(encode_enrolment(Enrolment(key, f"machine of {name}")))
    assert "grant" in decode(await stdout.readline())
    return connection
