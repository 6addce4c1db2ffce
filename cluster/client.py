"""The Python client: analyses over HTTP, and `connect` for calls to models as remote actors."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import numpy.typing as npt

from cluster.config import load_settings
from cluster.state import ClusterCard, StateDir

TERMINAL_STATES = ("succeeded", "failed")
_RETRY_S = 0.5
_OUTAGE_TIMEOUT_S = 60.0


class ApiError(RuntimeError):
    """The API refused a request; `problem` is its RFC 9457 body."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or f"HTTP {status}"))
        self.status, self.problem = status, problem


class NoCluster(RuntimeError):
    """No cluster runs in this state directory."""


class Client:
    """Analyses over HTTP. Reads are repeated for up to a minute while the API restarts; submissions carry a key."""

    def __init__(self, api_url: str, token: str) -> None:
        self._http = httpx.Client(base_url=api_url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._http.close()

    def submit(self, media: Sequence[str], analyzers: Sequence[str], key: str | None = None) -> dict[str, Any]:
        """Ask for an analysis; returns its first view. The same `key` and body is the same analysis."""
        headers = {"Idempotency-Key": key or os.urandom(16).hex()}
        body = {"media": list(media), "analyzers": list(analyzers)}
        return self._request("POST", "/v1/analyses", json=body, headers=headers)

    def analysis(self, analysis_id: str) -> dict[str, Any]:
        """The state, progress and reason to wait of one analysis."""
        return self._request("GET", f"/v1/analyses/{analysis_id}")

    def analyses(self) -> dict[str, Any]:
        """The most recent analyses."""
        return self._request("GET", "/v1/analyses")

    def results(self, analysis_id: str) -> dict[str, Any]:
        """What has been found so far, per analyzer, and where the Parquet parts lie."""
        return self._request("GET", f"/v1/analyses/{analysis_id}/results")

    def instances(self) -> dict[str, Any]:
        """The machines: which exist, why, since when and for how much."""
        return self._request("GET", "/v1/instances")

    def events(self, analysis_id: str) -> Iterator[dict[str, Any]]:
        """The analysis's events as they happen, from its first, until it ends."""
        with self._http.stream("GET", f"/v1/analyses/{analysis_id}/events", timeout=None) as reply:
            for line in reply.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))

    def follow(self, analysis_id: str, every_s: float = 0.2) -> Iterator[dict[str, Any]]:
        """Views of the analysis until it has ended; the last one is terminal."""
        while True:
            view = self.analysis(analysis_id)
            yield view
            if view["state"] in TERMINAL_STATES:
                return
            time.sleep(every_s)

    def _request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        deadline = time.monotonic() + _OUTAGE_TIMEOUT_S
        while True:
            try:
                reply = self._http.request(method, path, **options)
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            else:
                if reply.status_code < 500 or time.monotonic() > deadline:
                    return _body(reply)
            time.sleep(_RETRY_S)


def _body(reply: httpx.Response) -> dict[str, Any]:
    try:
        body = reply.json()
    except ValueError:
        body = {"detail": reply.text[:500]}
    if reply.is_error:
        raise ApiError(reply.status_code, body)
    return dict(body)


def find_cluster(state_dir: Path | None = None) -> tuple[StateDir, ClusterCard]:
    """The cluster that runs in `state_dir` (by default the configured one). Raises NoCluster."""
    state = StateDir(state_dir or load_settings().state_dir)
    card = state.read_card()
    if card is None:
        raise NoCluster(f"no cluster runs in {state.path}: start one with `aima up`")
    return state, card


def local_client(state_dir: Path | None = None) -> Client:
    """A client of the cluster on this machine. Raises NoCluster."""
    state, card = find_cluster(state_dir)
    return Client(card.api_url, state.token("api"))


class Connection:
    """Remote models. A model's actor starts with the first call and leaves its worker when idle.

    Each connection is a process of about 100 MiB on the head: use one, and close it. Work of hours belongs in a job.
    """

    def __init__(self, address: str, token_path: str, idle_s: float) -> None:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": token_path}
        import ray  # noqa: PLC0415 - reads its token when first imported

        self._ray = ray
        self._idle_s = idle_s
        self._context = self._connect(address)
        self._labeler: Any = None

    def _connect(self, address: str) -> Any:
        deadline = time.monotonic() + _OUTAGE_TIMEOUT_S
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
        """Let the actor and the connection go."""
        if self._labeler is not None:
            self._ray.kill(self._labeler)
            self._labeler = None
        self._context.disconnect()

    def labels(self, frames: npt.NDArray[np.uint8], top_k: int = 5) -> list[list[tuple[str, float]]]:
        """The `top_k` most likely labels, with scores in 0..1, of each RGB frame.

        frames: uint8 (N, H, W, 3). Raises ValueError for another shape or dtype. Waits while a worker is bought.
        """
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise ValueError(f"frames must be uint8 (N, H, W, 3), got {frames.dtype} {frames.shape}")
        for last_try in (False, True):
            if self._labeler is None:
                self._labeler = self._start_labeler()
            try:
                return list(self._ray.get(self._labeler.labels.remote(frames, top_k)))
            except self._ray.exceptions.RayActorError:
                self._labeler = None  # it left while idle, or its worker was lost: labels can be asked for again
                if last_try:
                    raise
        raise AssertionError("unreachable")

    def _start_labeler(self) -> Any:
        from serve_apps.models.labeler import Labeler  # noqa: PLC0415

        return self._ray.remote(num_gpus=1, num_cpus=1, max_restarts=0)(Labeler).remote(self._idle_s)


def connect(state_dir: Path | None = None, idle_s: float = 5.0) -> Connection:
    """Connect to the cluster that runs in `state_dir`. The model's actor ends after `idle_s` seconds without a call."""
    state, card = find_cluster(state_dir)
    return Connection(f"ray://{card.host}:{card.address.client_port}", str(state.token_path("ray")), idle_s)
