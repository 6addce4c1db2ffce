"""A worker that is out for more than its share: it speaks SSH to the hub for itself and tries what it is told.

python -m tests.support.overlay.intruder DIRECTORY NAME PORT < wishes.json

It joins as launch NAME in good form. Wishes: {"connect": {what: [host, port]}, "listen": {what: [host, port]},
"flood": {"host", "port", "streams"}, "collude": {"targets": [[host, port]], "seconds"}}. Prints for each what the hub
has granted, and whether a shell was.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncssh

from cluster.overlay.control import COMMAND, Enrolment, decode, encode_enrolment
from cluster.overlay.ssh import ALGORITHMS, public_key_text
from tests.support.overlay.namespaces import HEAD_ADDRESS

_TIMEOUT_S = 20.0
_FLOOD_BYTES = 64 * 1024**2
_SMALL_WINDOW_BYTES = 32 * 1024


async def intrude(directory: Path, name: str, port: int, wishes: Mapping[str, Any]) -> dict[str, Any]:
    """What is granted of the wishes."""
    token = json.loads((directory / "hub.json").read_text())["tokens"][name]
    key = asyncssh.generate_private_key("ssh-ed25519")
    async with asyncssh.connect(
        HEAD_ADDRESS,
        port,
        username=name,
        password=token,
        client_keys=[key],
        known_hosts=None,
        config=None,
        **ALGORITHMS,
    ) as hub:
        early = await _connects(hub, "127.0.0.1", port)  # before it has enrolled
        stdin, stdout, _ = await hub.open_session(COMMAND, encoding="utf-8")
        stdin.write(encode_enrolment(Enrolment(public_key_text(key), "intruder")))
        grant = decode(await stdout.readline())["grant"]
        found: dict[str, Any] = {"early": early, "shell": await _shell(hub)}
        for what in ("connect", "listen"):
            attempt = _connects if what == "connect" else _listens
            found[what] = {label: await attempt(hub, *where) for label, where in wishes.get(what, {}).items()}
        if collude := wishes.get("collude"):
            found["collude"] = await _collude(hub, grant, **collude)
        if flood := wishes.get("flood"):
            found["flood"] = await _flood(hub, **flood)
        return found


async def _connects(hub: asyncssh.SSHClientConnection, host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            _reader, writer = await hub.open_connection(host, port)
    except (asyncssh.Error, TimeoutError):
        return False
    writer.close()
    return True


async def _listens(hub: asyncssh.SSHClientConnection, host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await hub.forward_remote_port(host, port, "127.0.0.1", port)
    except (asyncssh.ChannelListenError, TimeoutError):
        return False
    return True


async def _shell(hub: asyncssh.SSHClientConnection) -> bool:
    """Whether a second session, a shell or a command of its own choice is granted."""
    for command in (None, "id"):
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await hub.open_session(command)
        except (asyncssh.Error, TimeoutError):
            continue
        return True
    return False


async def _collude(
    hub: asyncssh.SSHClientConnection, grant: Mapping[str, Any], targets: list[tuple[str, int]], seconds: float
) -> dict[str, Any]:
    """Open streams to all targets until the hub refuses, send what it takes, ask for much, read nothing."""
    for port in range(grant["base_port"], grant["base_port"] + 64):
        await hub.create_server(lambda _host, _port: _Deaf(), grant["host"], port, window=_SMALL_WINDOW_BYTES)
    print(json.dumps({"ready": True}), flush=True)
    opened, reasons, deadline = 0, set(), asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        for host, port in targets:
            try:
                await hub.create_connection(_Deaf, host, port, window=_SMALL_WINDOW_BYTES)
                opened += 1
            except (asyncssh.ChannelOpenError, OSError) as error:
                reasons.add(str(error)[:60])
                await asyncio.sleep(0.05)
    return {"opened": opened, "reasons": sorted(reasons)}


class _Deaf(asyncssh.SSHTCPSession[bytes]):
    """Sends as much as it may and reads nothing."""

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        """Open."""
        self._channel = chan
        chan.pause_reading()

    def session_started(self) -> None:
        """Ask for much, in case it is a service that answers, and send much, in case it is a partner."""
        self._channel.write(f"send {_FLOOD_BYTES}\n".encode() + bytes(256 * 1024))


async def _flood(hub: asyncssh.SSHClientConnection, host: str, port: int, streams: int) -> int:
    """Ask for much on many streams and read none of it."""
    for _ in range(streams):
        _reader, writer = await hub.open_connection(host, port, window=2**31 - 1)
        writer.write(f"send {_FLOOD_BYTES}\n".encode())
        writer.channel.pause_reading()
    hub_socket = hub.get_extra_info("socket")
    assert hub_socket is not None
    await asyncio.sleep(5)
    return streams


def main() -> None:
    """As the arguments say."""
    directory, name, port = sys.argv[1:]
    found = asyncio.run(intrude(Path(directory), name, int(port), json.loads(sys.stdin.read())))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
