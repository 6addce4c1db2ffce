"""Models as remote actors: arrays in, records out, through Ray Client with the cluster's token."""

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cluster.client.local import find_cluster
from pipelines.analyzers.registry import check_options, describe

Frames = npt.NDArray[np.uint8]
Times = npt.NDArray[np.float64]
_RETRY_S = 0.5
_CONNECT_TIMEOUT_S = 60.0
# So many batches wait at an actor: it never idles between two, and a lost one costs little.
_BATCHES_PER_ACTOR = 2


@dataclass
class _Actor:
    """A remote actor and how many of our calls it has not answered."""

    handle: Any
    calls: int = 0


class _Lane:
    """The actors of one kind of worker: started on demand, forgotten when they have left."""

    def __init__(self, ray: Any, resources: Mapping[str, float], idle_s: float) -> None:
        self._ray, self._resources, self._idle_s = ray, resources, idle_s
        self._actors: list[_Actor] = []

    def least_busy(self, most_actors: int = 1) -> _Actor:
        """An actor with room; a new one where all are full and fewer than `most_actors` exist."""
        best = min(self._actors, key=lambda actor: actor.calls, default=None)
        if best is None or (best.calls >= _BATCHES_PER_ACTOR and len(self._actors) < most_actors):
            best = _Actor(self._start())
            self._actors.append(best)
        return best

    def forget(self, actor: _Actor) -> None:
        """It has left, or its worker was lost."""
        if actor in self._actors:
            self._actors.remove(actor)

    def close(self) -> None:
        """End every actor now, without waiting for its idle time."""
        for actor in self._actors:
            self._ray.kill(actor.handle)
        self._actors.clear()

    def _start(self) -> Any:
        from serve_apps.models.models_actor import ModelsActor  # noqa: PLC0415

        return self._ray.remote(max_restarts=0, **self._resources)(ModelsActor).remote(self._idle_s)


class Model:
    """One analyzer with its options, as a handle: the first call starts an actor, which waits for a worker."""

    def __init__(self, ray: Any, lane: _Lane, name: str, options: Mapping[str, Any]) -> None:
        self._ray, self._lane = ray, lane
        self.name, self.options = name, options

    def run(self, frames: Frames, times_s: Times | None = None, fps: float = 1.0) -> Any:
        """The records of these frames, as a pyarrow Table: what the analyzer writes for a video of just these.

        frames: uint8 (N, H, W, 3), RGB, in order. times_s: float64 (N,), seconds, ascending; by default `fps` frames
        a second from 0. Raises ValueError for other shapes or dtypes. Waits while a worker is bought.
        """
        batch = _checked(frames, times_s, fps)
        for last_try in (False, True):
            actor = self._lane.least_busy()
            try:
                return self._ray.get(self._send(actor, batch))
            except self._ray.exceptions.RayActorError:  # it left while idle, or its worker was lost
                self._lane.forget(actor)
                if last_try:
                    raise
        raise AssertionError("unreachable")

    def map(self, batches: Iterable[Frames], workers: int = 2, fps: float = 1.0) -> Iterator[Any]:
        """The records of each batch, in their order, by up to `workers` actors at once; more are bought as needed."""
        waiting: deque[tuple[_Actor, tuple[Frames, Times], Any]] = deque()
        for frames in batches:
            batch = _checked(frames, None, fps)
            actor = self._lane.least_busy(workers)
            waiting.append((actor, batch, self._send(actor, batch)))
            if len(waiting) >= workers * _BATCHES_PER_ACTOR:
                yield self._answer(*waiting.popleft())
        while waiting:
            yield self._answer(*waiting.popleft())

    def _send(self, actor: _Actor, batch: tuple[Frames, Times]) -> Any:
        actor.calls += 1
        return actor.handle.run.remote(self.name, dict(self.options), *batch)

    def _answer(self, actor: _Actor, batch: tuple[Frames, Times], reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayActorError:
            self._lane.forget(actor)
            return self.run(*batch)
        finally:
            actor.calls -= 1


class Connection:
    """Remote models. Actors start with the first call and leave their workers when idle.

    Each connection is a process of about 100 MiB on the head: use one, and close it. Work of hours belongs in a job.
    """

    def __init__(self, address: str, token_path: str, idle_s: float) -> None:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": token_path}
        import ray  # noqa: PLC0415 - reads its token when first imported

        self._ray = ray
        self._context = self._connect(address)
        self._lanes = {
            "gpu": _Lane(ray, {"num_gpus": 1, "num_cpus": 1}, idle_s),
            "cpu": _Lane(ray, {"num_gpus": 0, "num_cpus": 1}, idle_s),
        }

    def _connect(self, address: str) -> Any:
        deadline = time.monotonic() + _CONNECT_TIMEOUT_S
        while True:
            try:
                return self._ray.init(address, namespace="aima", log_to_driver=False)
            except ConnectionError:  # a busy head can take longer to start our process than Ray waits for it
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the actors and the connection go."""
        for lane in self._lanes.values():
            lane.close()
        self._context.disconnect()

    def model(self, name: str, **options: Any) -> Model:
        """A handle of an analyzer of frames. Raises UnknownAnalyzer, InvalidOption; ValueError for one of sound."""
        description = describe(name)
        if description.takes != "frames":
            raise ValueError(f"{name} takes {description.takes}: submit the file for analysis instead")
        return Model(self._ray, self._lanes[description.lane], name, check_options(name, options))

    def labels(self, frames: Frames, top_k: int = 5) -> list[list[tuple[str, float]]]:
        """The `top_k` most likely labels, with scores in 0..1, of each RGB frame, uint8 (N, H, W, 3)."""
        records = self.model("labels", top_k=top_k).run(frames)
        return [[(each["label"], each["score"]) for each in row] for row in records["labels"].to_pylist()]


def connect(
    state_dir: Path | None = None,
    idle_s: float = 5.0,
    *,
    address: str | None = None,
    token_path: Path | None = None,
) -> Connection:
    """Connect to the cluster in `state_dir`, or to `address` ("ray://host:port") with the Ray token in `token_path`.

    Actors end after `idle_s` seconds without a call. Raises NoCluster; ValueError for an address without a token.
    """
    if address is not None:
        if token_path is None:
            raise ValueError("address needs token_path: the file with the cluster's Ray token")
        return Connection(address, str(token_path), idle_s)
    state, card = find_cluster(state_dir)
    return Connection(f"ray://{card.host}:{card.address.client_port}", str(state.token_path("ray")), idle_s)


def _checked(frames: Frames, times_s: Times | None, fps: float) -> tuple[Frames, Times]:
    """The frames and their times. Raises ValueError."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise ValueError(f"frames must be uint8 (N, H, W, 3) with N of 1 or more, got {frames.dtype} {frames.shape}")
    if times_s is None:
        return frames, np.arange(len(frames), dtype=np.float64) / fps
    times = np.asarray(times_s, np.float64)
    if times.shape != (len(frames),) or times[0] < 0 or (np.diff(times) < 0).any():
        raise ValueError(f"times_s must be {len(frames)} ascending seconds from 0 on, got {times_s!r}")
    return frames, times
