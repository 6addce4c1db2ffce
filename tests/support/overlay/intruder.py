"""A worker that is out for more than its share: it speaks SSH to the hub for itself and tries what it is told.

python -m tests.support.overlay.intruder DIRECTORY NAME PORT < wishes.json

It joins as launch NAME in good form. Wishes: {"connect": {what: [host, port]}, "listen": {what: [host, port]},
"flood": {"host", "port", "streams"}}. Prints for each what the hub has granted, and whether a shell was.
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
        assert "grant" in decode(await stdout.readline())
        found: dict[str, Any] = {"early": early, "shell": await _shell(hub)}
        for what in ("connect", "listen"):
            attempt = _connects if what == "connect" else _listens
            found[what] = {label: await attempt(hub, *where) for label, where in wishes.get(what, {}).items()}
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
