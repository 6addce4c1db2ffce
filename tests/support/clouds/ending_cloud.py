"""A cloud of which only the end of an instance is asked: an HTTP server that answers DELETE as told."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.servers.http_server import running


@dataclass
class EndingCloud:
    """`answers` are the statuses to come, the last one for ever; `asked` is (path, Authorization, User-Agent)."""

    answers: list[int] = field(default_factory=lambda: [204])
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    url: str = ""


@contextmanager
def ending_cloud() -> Iterator[EndingCloud]:
    """The server, until the block ends."""
    cloud = EndingCloud()

    class Handler(BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            cloud.asked.append((self.path, self.headers["Authorization"], self.headers["User-Agent"]))
            self.send_response(cloud.answers.pop(0) if len(cloud.answers) > 1 else cloud.answers[0])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    cloud.url = f"http://127.0.0.1:{server.server_port}"
    with running(server):
        yield cloud
