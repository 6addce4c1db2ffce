"""Guests that leave in the middle, ask for too much, or never read: the hub keeps nothing of them and its bounds."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from cluster.overlay.control import COMMAND, encode
from cluster.overlay.hub import Hub
from cluster.overlay.streams.memory import CHANNEL_BYTES, MAX_CHANNELS
from cluster.overlay.streams.splice import TcpEnd
from tests.support.overlay.guests import HEAD, OpenDoor, address_of, connected, dial, hub, join

PORT = HEAD.base_port + 40
MIB = 1024**2


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)
    assert condition(), what


def channels() -> int:
    """asyncssh's channels in this process that are still known to somebody."""
    gc.collect()
    return sum(issubclass(type(each), asyncssh.SSHTCPChannel) for each in gc.get_objects())


def run(directory: Path, story: Callable[[Hub, OpenDoor], Awaitable[None]], **settings: Any) -> None:
    async def told() -> None:
        async with hub(directory, **settings) as (made, door):
            await story(made, door)

    asyncio.run(told())


def test_clients_that_leave_while_their_stream_is_opened_leave_no_channel(tmp_path: Path) -> None:
    """Node b takes its time to answer; meanwhile a thousand streams to it lose the connection that asked for them."""

    async def story(made: Hub, _door: OpenDoor) -> None:
        slow = await join(tmp_path, "b")
        release = asyncio.Event()

        async def answer() -> Any:
            await release.wait()
            return asyncssh.SSHTCPSession()

        target = address_of("b")
        await slow.create_server(lambda _host, _port: answer(), target.host, target.base_port)
        before = channels()
        for _round in range(20):
            client = await join(tmp_path, "a")
            asked = [asyncio.ensure_future(client.open_connection(target.host, target.base_port)) for _ in range(50)]
            await until(lambda: made.memory.channels >= 100, "all are being opened")
            client.abort()
            await asyncio.gather(*asked, return_exceptions=True)
            release.set()
            await until(lambda: made.memory.channels == 0, "nothing is left")
            release.clear()
        del asked, client
        await until(lambda: channels() <= before, "as many channels as before")
        assert made.memory.used_bytes == 0
        slow.abort()

    run(tmp_path, story)


def test_a_node_that_never_answers_costs_itself_and_not_who_asked(tmp_path: Path) -> None:
    async def story(made: Hub, _door: OpenDoor) -> None:
        silent = await join(tmp_path, "b")
        never = asyncio.Event()

        async def answer() -> Any:
            await never.wait()

        target = address_of("b")
        await silent.create_server(lambda _host, _port: answer(), target.host, target.base_port)
        client = await join(tmp_path, "a")
        asked = [asyncio.ensure_future(client.open_connection(target.host, target.base_port)) for _ in range(20)]
        await until(lambda: made.memory.channels == 40, "all are being opened")
        client.abort()
        await asyncio.gather(*asked, return_exceptions=True)
        await until(lambda: made.memory.channels == 20, "the silent node's side is left")
        await join(tmp_path, "a")
        for _ in range(MAX_CHANNELS):
            made.memory.open("a").release()
        silent.abort()
        await until(lambda: made.memory.channels == 0, "nothing is left once it has gone")

    run(tmp_path, story)


@pytest.mark.parametrize("leave_after", ["connecting", "version", "key exchange", "half a packet"])
def test_peers_that_leave_before_they_are_known_leave_nothing(tmp_path: Path, leave_after: str) -> None:
    async def story(made: Hub, _door: OpenDoor) -> None:
        for _ in range(100):
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # so many at once are sent away
                await _leave(tmp_path, leave_after)
        await until(lambda: made.unknown == 0, "none is left")
        (await join(tmp_path, "a")).abort()

    run(tmp_path, story)


async def _leave(directory: Path, after: str) -> None:
    reader, writer = await asyncio.open_unix_connection(str(directory / "hub.sock"))
    if after != "connecting":
        writer.write(b"SSH-2.0-guest\r\n")
    if after == "key exchange":
        await reader.readuntil(b"\n")
        writer.write((2**31 - 1).to_bytes(4, "big") + bytes(64))
    if after == "half a packet":
        writer.write((2000).to_bytes(4, "big") + bytes(500))
    await writer.drain()
    writer.close()


def test_a_node_has_a_bounded_number_of_streams_and_is_told_why_it_gets_no_more(tmp_path: Path) -> None:
    async def story(made: Hub, door: OpenDoor) -> None:
        accepted: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(lambda _r, writer: accepted.append(writer), HEAD.host, PORT)
        client = await join(tmp_path, "a")
        opened = [await client.open_connection(HEAD.host, PORT) for _ in range(MAX_CHANNELS)]
        with pytest.raises(asyncssh.ChannelOpenError, match=f"a has {MAX_CHANNELS} streams open, of at most"):
            await client.open_connection(HEAD.host, PORT)
        assert any("no room for another stream" in why for _, why in door.refusals)
        opened[0][1].close()
        await until(lambda: made.memory.channels < MAX_CHANNELS, "one is over")
        await client.open_connection(HEAD.host, PORT)
        client.abort()
        await until(lambda: made.memory.channels == 0, "nothing is left")
        server.close()
        for writer in accepted:
            writer.transport.abort()

    run(tmp_path, story)


def test_half_closed_streams_go_with_whoever_left_them(tmp_path: Path) -> None:
    """The client has said all it had, and the service never answers and never ends."""

    async def story(made: Hub, _door: OpenDoor) -> None:
        held: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(lambda _r, writer: held.append(writer), HEAD.host, PORT)
        client = await join(tmp_path, "a")
        for _ in range(100):
            _reader, writer = await client.open_connection(HEAD.host, PORT)
            writer.write_eof()
        await until(lambda: len(held) == 100, "all have arrived")
        assert made.memory.channels == 100
        client.abort()
        await until(lambda: made.memory.channels == 0, "nothing is left")
        server.close()
        for each in held:
            each.transport.abort()

    run(tmp_path, story)


def test_many_small_packets_that_nobody_reads_cost_what_they_hold(tmp_path: Path) -> None:
    """A window full of single bytes is a window full of bytes, not of objects."""

    async def story(made: Hub, _door: OpenDoor) -> None:
        target = address_of("b")
        deaf = await join(tmp_path, "b")

        class Deaf(asyncssh.SSHTCPSession[bytes]):
            def connection_made(self, chan: Any) -> None:
                chan.pause_reading()

        await deaf.create_server(lambda _host, _port: Deaf(), target.host, target.base_port, window=1024)
        client = await join(tmp_path, "a")
        _reader, writer = await client.open_connection(target.host, target.base_port)
        for _ in range(20_000):
            writer.write(b"x")
        await until(lambda: any(chan._recv_buf for chan in _streams(made, "a")), "it waits at the hub")
        sent: Any = writer.channel
        await until(lambda: not sent._send_buf or not sent._send_window, "the client can send no more")
        assert all(len(chan._recv_buf) + len(chan._send_buf) < 10 for node in "ab" for chan in _streams(made, node))
        client.abort()
        deaf.abort()

    run(tmp_path, story)


def _streams(made: Hub, name: str) -> list[Any]:
    connection = made.nodes[name].connection
    assert connection is not None
    found = connection._connection._channels.values()
    return [channel for channel in found if isinstance(channel, asyncssh.SSHTCPChannel)]


def test_a_guest_that_asks_much_and_reads_no_answer_fills_no_memory(tmp_path: Path) -> None:
    async def story(made: Hub, _door: OpenDoor) -> None:
        client = await join(tmp_path, "a")
        node = made.nodes["a"]
        assert node.connection is not None
        at_hub = node.connection._connection._transport
        client._transport.pause_reading()  # type: ignore[union-attr]
        for _ in range(30):
            for _ in range(2000):
                client.send_packet(82 - 2, b"\0\0\0\x07nothing\x01")  # a global request that wants an answer
            await asyncio.sleep(0.01)
        assert at_hub is not None
        assert at_hub.get_write_buffer_size() < MIB
        client._transport.resume_reading()  # type: ignore[union-attr]
        client.abort()

    run(tmp_path, story)


def test_a_key_exchange_that_never_ends_fills_no_memory(tmp_path: Path) -> None:
    async def story(made: Hub, _door: OpenDoor) -> None:
        client = await join(tmp_path, "a")
        node = made.nodes["a"]
        assert node.connection is not None
        at_hub = node.connection._connection
        client._send_kexinit()
        client._kex_complete = True  # it sends on, as if nothing were under way
        client._process_packet = lambda *_: None  # type: ignore[attr-defined]
        for _ in range(20):
            for _ in range(2000):
                client.send_packet(80, b"\0\0\0\x07nothing\x01")
            await asyncio.sleep(0.01)
        assert len(at_hub._deferred_packets) <= 5000
        client.abort()

    run(tmp_path, story)


@pytest.mark.parametrize("request_name", ["env", "signal", "break", "window-change", "pty-req", "subsystem"])
def test_a_session_takes_nothing_but_the_command(tmp_path: Path, request_name: str) -> None:
    async def story(_made: Hub, _door: OpenDoor) -> None:
        client = await dial(tmp_path, "a")
        stdin, _stdout, _stderr = await client.open_session(COMMAND, encoding="utf-8")
        arguments = {"env": b"\0\0\0\x01x\0\0\0\x01y", "subsystem": b"\0\0\0\x04sftp", "signal": b"\0\0\0\x03INT"}
        granted = await stdin.channel._make_request(request_name.encode(), arguments.get(request_name, bytes(32)))
        assert not granted
        with pytest.raises(asyncssh.ChannelOpenError):
            await client.open_session(COMMAND)
        client.abort()

    run(tmp_path, story)


def test_reports_are_bounded_in_number_and_length(tmp_path: Path) -> None:
    async def story(_made: Hub, door: OpenDoor) -> None:
        for line in (encode({"report": {"phase": "joined"}}) * 500, encode({"report": "x" * 50_000}), "x" * 200_000):
            client = await join(tmp_path, "a")
            session = next(iter(client._channels.values()))
            session.write(line)
            await until(client.is_closed, "it is cut off")
        assert len(door.reports) == 100
        assert [why for _, why in door.refusals if "keep to the protocol" in why]

    run(tmp_path, story)


def test_passwords_cannot_be_guessed_over_one_connection(tmp_path: Path) -> None:
    tries = 0

    class Guessing(asyncssh.SSHClient):
        def password_auth_requested(self) -> str:
            nonlocal tries
            tries += 1
            return f"guess {tries}"

    async def story(_made: Hub, door: OpenDoor) -> None:
        with pytest.raises((asyncssh.Error, OSError)):
            await asyncssh.connect(
                sock=connected(tmp_path),
                username="a",
                client_factory=Guessing,
                client_keys=None,
                known_hosts=None,
                config=None,
                agent_path=None,
            )
        assert len(door.refusals) <= 3

    run(tmp_path, story)


def test_a_machine_that_does_not_enrol_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.overlay.hub_connection.LOGIN_TIMEOUT_S", 2.0)

    async def story(_made: Hub, _door: OpenDoor) -> None:
        client = await dial(tmp_path, "a")
        await until(client.is_closed, "it is cut off")
        enrolled, later = await join(tmp_path, "a"), await dial(tmp_path, "b")
        await until(later.is_closed, "one that came later is cut off")
        assert not enrolled.is_closed()
        enrolled.abort()

    run(tmp_path, story)


def test_what_waits_for_a_reader_that_never_reads_goes_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed stream whose rest nobody takes is cut, and its reader sees that something is missing."""
    monkeypatch.setattr("cluster.overlay.streams.splice.LINGER_S", 0.3)

    async def story() -> None:
        deaf, near = socket.socketpair()
        loop = asyncio.get_running_loop()
        transport, end = await loop.create_connection(TcpEnd, sock=near)
        transport.write(bytes(8 * MIB))
        end.close()
        await until(lambda: near.fileno() == -1, "its socket is closed")
        assert await asyncio.to_thread(_read_all, deaf) < 8 * MIB
        deaf.close()

    asyncio.run(story())


def test_a_stream_that_is_cut_does_not_look_complete(tmp_path: Path) -> None:
    async def story(_made: Hub, _door: OpenDoor) -> None:
        service = socket.create_server((HEAD.host, PORT))
        client = await join(tmp_path, "a")
        _reader, writer = await client.open_connection(HEAD.host, PORT)
        taken, _ = await asyncio.to_thread(service.accept)
        writer.write(b"half a message")
        assert await asyncio.to_thread(taken.recv, 5) == b"half "
        client.abort()
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(_read_all, taken)
        taken.close()
        service.close()

    run(tmp_path, story)


def _read_all(connection: socket.socket) -> int:
    count = 0
    while data := connection.recv(MIB):
        count += len(data)
    return count


def test_a_stream_costs_little_until_it_moves_data() -> None:
    assert MAX_CHANNELS * CHANNEL_BYTES < 32 * MIB
