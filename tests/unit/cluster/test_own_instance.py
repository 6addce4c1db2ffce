"""A rented machine ends itself at its cloud, which may refuse or not answer."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cluster.own_instance import OwnInstance, detect, end


class Ended(Exception):
    """What a cloud does to the process, for want of a cloud."""


@pytest.fixture
def cloud() -> Iterator[ThreadingHTTPServer]:
    """Answers DELETE with the statuses in `answers`, one by one, and remembers what was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            server.asked.append((self.path, self.headers["Authorization"], self.headers["User-Agent"]))  # type: ignore[attr-defined]
            self.send_response(server.answers.pop(0))  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.answers = [], []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ends_after(own: OwnInstance, pauses: int) -> list[float]:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == pauses:
            raise Ended

    with pytest.raises(Ended):
        end(own, sleep)
    return slept


def test_each_cloud_is_known_by_what_it_injects() -> None:
    runpod = detect({"RUNPOD_POD_ID": "p1", "RUNPOD_API_KEY": "k"})
    assert runpod == OwnInstance("runpod", "https://api.runpod.io/v2/pods/p1", "k")
    vast = detect({"CONTAINER_ID": "7", "CONTAINER_API_KEY": "k"})
    assert vast == OwnInstance("vastai", "https://console.vast.ai/api/v0/instances/7/", "k")
    assert detect({"PATH": "/bin"}) is None


def test_a_refusal_is_tried_again_and_success_too_until_the_machine_is_gone(cloud: ThreadingHTTPServer) -> None:
    base = f"http://127.0.0.1:{cloud.server_port}"
    cloud.answers[:] = [403, 500, 204, 204]  # type: ignore[attr-defined]
    own = detect({"RUNPOD_POD_ID": "p1", "RUNPOD_API_KEY": "k", "RUNPOD_API_BASE_URL": base})
    assert own is not None
    assert ends_after(own, 4) == [2.0, 4.0, 8.0, 16.0]
    assert cloud.asked == [("/v2/pods/p1", "Bearer k", "aima-worker")] * 4  # type: ignore[attr-defined]


def test_a_cloud_that_does_not_answer_is_asked_again(capfd: pytest.CaptureFixture[str]) -> None:
    own = detect({"CONTAINER_ID": "7", "CONTAINER_API_KEY": "secret", "VAST_API_BASE_URL": "http://127.0.0.1:9"})
    assert own is not None
    assert ends_after(own, 8)[-1] == 60.0
    said = capfd.readouterr().err
    assert "no answer" in said
    assert "secret" not in said
