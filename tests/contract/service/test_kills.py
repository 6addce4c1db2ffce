"""kill -9 at random moments of a burst: what was answered 202 is there, once, and nothing is there twice."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, func, select

from serve_apps.store.migrations import upgrade
from serve_apps.store.tables import analyses, events
from tests.support.product.service import BEARER

KILLS = int(os.environ.get("AIMA_TEST_KILLS", "50"))  # on each database
CLIENTS = 4


@pytest.fixture
def burst(engine: Engine, tmp_path: Path) -> Iterator["Burst"]:
    upgrade(engine)
    media = tmp_path / "media" / "clip.mp4"
    media.parent.mkdir()
    media.write_bytes(b"x")
    url = engine.url.render_as_string(hide_password=False)
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            schema = connection.exec_driver_sql("SELECT current_schema()").scalar()
        url += f"?options=-csearch_path%3D{schema}"
    command = [sys.executable, "-m", "tests.support.servers.kill_server", url, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as server:
        try:
            yield Burst(server, str(media))
        finally:
            os.killpg(server.pid, signal.SIGKILL)


class Burst:
    """Clients that submit without a pause, each request until it is answered."""

    def __init__(self, server: "subprocess.Popen[str]", media: str) -> None:
        assert server.stdout
        self.pids = server.stdout
        self.url = f"http://127.0.0.1:{self.pids.readline().strip()}"
        self.media = media
        self.over = threading.Event()
        self.answers: dict[str, set[str]] = {}
        self.troubles = 0

    def client(self, number: int) -> None:
        with httpx.Client(base_url=self.url, headers=BEARER, timeout=30) as http:
            for count in range(1_000_000):
                if self.over.is_set():
                    return
                self.submit(http, f"{number}-{count}")

    def submit(self, http: httpx.Client, key: str) -> None:
        self.answers[key] = set()
        body = {"media": self.media, "analyzers": ["labels"]}
        # Every third request is sent once more though it was answered: also to a server that has just started.
        wanted = 2 if key.endswith(("0", "3", "6")) else 1
        while wanted:
            try:
                reply = http.post("/v1/analyses", json=body, headers={"Idempotency-Key": key})
            except httpx.TransportError:
                self.troubles += 1
                continue
            assert reply.status_code in (202, 503), reply.text
            if reply.status_code == 202:
                self.answers[key].add(reply.json()["id"])
                wanted -= 1

    def answered(self) -> int:
        return sum(len(ids) for ids in list(self.answers.values()))


def test_nothing_that_was_answered_is_lost_or_doubled_by_kills(burst: Burst, engine: Engine) -> None:
    chance = random.Random(7)
    clients = [threading.Thread(target=burst.client, args=(number,)) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for _ in range(KILLS):
        pid = int(burst.pids.readline())
        before = burst.answered()
        deadline = time.monotonic() + 60
        while burst.answered() == before and time.monotonic() < deadline:  # it serves
            time.sleep(0.002)
        time.sleep(chance.random() * 0.05)
        os.kill(pid, signal.SIGKILL)
    burst.over.set()
    for client in clients:
        client.join(120)
    assert not any(client.is_alive() for client in clients)
    assert burst.troubles > KILLS / 2, "the kills met no request"
    # However often it was asked for: one analysis for each key.
    assert [key for key, ids in burst.answers.items() if len(ids) != 1] == []
    by_analysis = select(events.c.analysis_id, func.count()).group_by(events.c.analysis_id)
    with engine.connect() as connection:
        stored = {row[0]: row[1] for row in connection.execute(select(analyses.c.idempotency_key, analyses.c.id))}
        queued = {row[0]: row[1] for row in connection.execute(by_analysis)}
    assert stored == {key: next(iter(ids)) for key, ids in burst.answers.items()}
    assert queued == dict.fromkeys(stored.values(), 1)
