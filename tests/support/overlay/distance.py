"""A hub that is far away: a relay on a worker's host that lets every byte travel for a while, in both directions.

python -m tests.support.overlay.distance PORT HOST HUB_PORT ROUND_TRIP_MS

It listens at 127.0.0.1:PORT. The kernel's own way to do this (netem) is missing from many kernels.
"""

import asyncio
import contextlib
import sys

_CHUNK = 64 * 1024


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Each chunk arrives `seconds` after it was sent, however many are under way."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            loop.call_later(seconds, writer.write, data)
    loop.call_later(seconds, writer.close)


async def relay(port: int, host: str, hub_port: int, seconds: float) -> None:
    """Until it is killed."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)  # the first packet travels too
        try:
            far_reader, far_writer = await asyncio.open_connection(host, hub_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(carry(reader, far_writer, 0.0), carry(far_reader, writer, 2 * seconds))

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """As the arguments say."""
    port, host, hub_port, round_trip_ms = sys.argv[1:]
    asyncio.run(relay(int(port), host, int(hub_port), float(round_trip_ms) / 2000))


if __name__ == "__main__":
    main()
