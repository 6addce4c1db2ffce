"""Servers beside a test; and a web server with byte ranges that counts what it sends."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer

from pipelines.media.addresses import trusted


class RangeServer(ThreadingHTTPServer):
    """Serves the files of one folder."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.sent_bytes = 0

    def url(self, name: str) -> str:
        """Where a file of the folder is; a reader may go there, though it is on this machine."""
        return trusted(f"http://127.0.0.1:{self.server_port}/{name}")


class _Handler(BaseHTTPRequestHandler):
    server: RangeServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.server.folder / self.path.partition("?")[0].lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        size = path.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        last = int(asked[2]) if asked and asked[2] else size - 1
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        with path.open("rb") as file, suppress(ConnectionError):
            file.seek(first)
            left = last + 1 - first
            while left and (data := file.read(min(left, 1 << 14))):
                self.wfile.write(data)
                self.server.sent_bytes += len(data)
                left -= len(data)

    def log_message(self, format: str, *args: object) -> None:
        """Not on the test's output."""


@contextmanager
def running(server: BaseServer) -> Iterator[None]:
    """Let it serve beside the test, and end it."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def served(folder: Path) -> Iterator[RangeServer]:
    """A running server."""
    server = RangeServer(folder)
    with running(server):
        yield server
