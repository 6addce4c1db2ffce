"""Insights and manifests of a batch job, each written as soon as its media item is whole, beside the work."""

from collections import Counter, defaultdict
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from types import TracebackType

from pipelines.batch.job import BatchJob, Kind, Outcome, Plan

_AT_ONCE = 8  # with object stores it is waiting, not work


class Wholes:
    """Told of every outcome; leaving the `with` block waits for what is being written, and raises its errors."""

    def __init__(self, kind: Kind, job: BatchJob, plan: Plan) -> None:
        self._kind, self._job, self._plan = kind, job, plan
        self._left = Counter(kind.whole_of(name) for name in {**plan.tasks, **plan.done})
        self._broken = {error["name"] for error in plan.result.errors}
        self._outcomes: defaultdict[str, list[Outcome]] = defaultdict(list)
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._writing: list[Future[None]] = []

    def note(self, outcome: Outcome) -> None:
        """Something is done, or has failed."""
        whole = self._kind.whole_of(outcome["name"])
        self._left[whole] -= 1
        self._outcomes[whole].append(outcome)
        if "error" in outcome:
            self._broken.add(whole)
        if not self._left[whole]:
            outcomes = self._outcomes.pop(whole)
            if whole not in self._broken:
                self._writing.append(self._pool.submit(self._kind.write_whole, self._job, self._plan, outcomes))

    def __enter__(self) -> "Wholes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            for written in as_completed(self._writing):
                written.result()
        self._pool.shutdown(cancel_futures=error is not None)
