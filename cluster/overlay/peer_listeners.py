"""Where a worker's Ray finds its peers: sockets at their addresses, each of which leads through the hub."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

import asyncssh

from cluster.overlay.addresses import NodeAddress
from cluster.overlay.streams.splice import ChannelEnd, TcpEnd


class PeerListeners:
    """The sockets at which this machine's Ray finds its peers; they come and go as the hub says."""

    def __init__(self, open_stream: Callable[[str, int], Awaitable[ChannelEnd]]) -> None:
        self._open_stream = open_stream
        self._servers: dict[NodeAddress, asyncio.Task[list[asyncio.Server]]] = {}
        self._streams: set[asyncio.Task[None]] = set()

    def follow(self, peers: Sequence[NodeAddress]) -> None:
        """Listen for exactly these."""
        for address in set(self._servers) - set(peers):
            self._servers.pop(address).add_done_callback(_close_all)
        for address in peers:
            if address not in self._servers:
                self._servers[address] = asyncio.get_running_loop().create_task(self._listen_for(address))

    async def _listen_for(self, address: NodeAddress) -> list[asyncio.Server]:
        loop, servers = asyncio.get_running_loop(), []
        for port in address.ports:
            try:
                servers.append(await loop.create_server(self._acceptor(address.host, port), address.host, port))
            except OSError as error:
                print(f"{address.host}:{port} cannot be listened for: {error}", file=sys.stderr)
        return servers

    def _acceptor(self, host: str, port: int) -> type[TcpEnd]:
        listeners = self

        class Accepted(TcpEnd):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                listeners._carry(self, host, port)

        return Accepted

    def _carry(self, end: TcpEnd, host: str, port: int) -> None:
        task = asyncio.get_running_loop().create_task(self._stream(end, host, port))
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)

    async def _stream(self, end: TcpEnd, host: str, port: int) -> None:
        try:
            (await self._open_stream(host, port)).join(end)
        except (OSError, asyncssh.Error):
            end.abort()


def _close_all(listening: "asyncio.Task[list[asyncio.Server]]") -> None:
    for server in listening.result():
        server.close()
