"""A stream of requests, as clients send them who give up nothing: each asked for under its key until it is answered."""

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from cluster.client import ApiError, Client, Unreachable
from tests.chaos.clips import Task
from tests.chaos.verdict import Outcome

_TROUBLE = (ApiError, Unreachable, OSError)
_FINISHED = ("succeeded", "failed", "cancelled")
_POLL_S = 0.5


@dataclass
class Request:
    """One analysis: its id once it was accepted, its end once it has come."""

    key: str
    task: Task
    analysis_id: str = ""
    outcome: Outcome = field(default_factory=lambda: Outcome(None))

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.outcome.state is not None


class Stream:
    """Sends a task every few seconds, `open_most` open at a time, and follows all of them."""

    def __init__(
        self,
        client: Client,
        tasks: Sequence[Task],
        seed: int,
        every_s: tuple[float, float] = (1.0, 4.0),
        open_most: int = 6,
    ) -> None:
        self._client, self._tasks, self._seed = client, tasks, seed
        self._every_s, self._open_most = every_s, open_most
        self.requests: list[Request] = []
        self._full, self._stop = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._follow)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def ask_no_more(self, timeout_s: float) -> None:
        """Send nothing new; what was sent is asked for until it is answered."""
        self._full.set()
        self._threads[0].join(timeout_s)

    def stop(self) -> None:
        """Follow nothing any more."""
        self._full.set()
        self._stop.set()
        for thread in self._threads:
            thread.join(90)

    @property
    def accepted(self) -> list[Request]:
        """Everything that was answered 202."""
        return [request for request in list(self.requests) if request.analysis_id]

    @property
    def open(self) -> list[Request]:
        """What was accepted and has not ended, as far as is known."""
        return [request for request in self.accepted if not request.over]

    def _send(self) -> None:
        chance, number = random.Random(self._seed ^ 0xA11), 0
        while not self._full.wait(chance.uniform(*self._every_s)):
            if len(self.open) < self._open_most:
                number += 1
                request = Request(f"chaos-{self._seed}-{number}", chance.choice(self._tasks))
                self.requests.append(request)
                self._ask(request)

    def _ask(self, request: Request) -> None:
        """Until it is answered. A refusal of what is right is a defect: it is asked for again, and never accepted."""
        while not request.analysis_id and not self._stop.is_set():
            try:
                view = self._client.submit(request.task.media_uri, request.task.analyzers, key=request.key)
            except _TROUBLE:
                self._stop.wait(1.0)
            else:
                request.analysis_id = view["id"]

    def _follow(self) -> None:
        while not self._stop.is_set():
            for request in self.open:
                self._look(request)
            self._stop.wait(_POLL_S)

    def _look(self, request: Request) -> None:
        try:
            request.outcome = look(self._client, request.analysis_id)
        except _TROUBLE:
            return


def look(client: Client, analysis_id: str) -> Outcome:
    """How it stands; its rows once it has succeeded. Raises ApiError, Unreachable."""
    view = client.analysis(analysis_id)
    state = view["state"]
    if state not in _FINISHED:
        return Outcome(None)
    error = (view["error"] or {}).get("message", "")
    if state != "succeeded":
        return Outcome(state, error)
    return Outcome(state, error, client.results(analysis_id, max_records=100_000)["media"][0]["analyzers"])


def calm(client: Client, tasks: Sequence[Task], timeout_s: float) -> dict[str, Outcome]:
    """How each task ends undisturbed, all at once. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    ids = {task.name: client.submit(task.media_uri, task.analyzers)["id"] for task in tasks}
    for analysis_id in ids.values():
        client.wait(analysis_id, timeout_s=max(1.0, deadline - time.monotonic()))
    return {name: look(client, analysis_id) for name, analysis_id in ids.items()}
