"""One model, many segments: frames of several segments go through it together, in batches that fit its memory."""

import gc
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import AnalyzerFault

_log = logging.getLogger(__name__)
_FIRST_LIMIT = 64
_FIRST_LIMIT_CUDA = 256
Row = TypeVar("Row")


class OutOfMemory(RuntimeError):
    """Not even one frame fits into the model's memory."""


@dataclass
class _Ticket(Generic[Row]):
    pixels: NDArray[np.uint8]
    rows: Sequence[Row] | None = None
    error: Exception | None = None
    done: threading.Event = field(default_factory=threading.Event)


class SharedModel(Generic[Row]):
    """Calls `model` with frames from many threads: what waits while it is busy goes in together, next.

    `model` maps uint8 (N, H, W, 3) to one row for each of the N frames. `name` is the analyzer's, for errors.
    `limit` is how many frames it takes at once: it starts high, is halved for good whenever memory runs out, and is so
    found once for a model on a device.
    A model that is not `together` gets nothing from larger batches: each caller's frames go through it at once.
    """

    def __init__(
        self, model: Callable[[NDArray[np.uint8]], Sequence[Row]], limit: int = _FIRST_LIMIT, name: str = "model"
    ) -> None:
        self.limit, self.together, self._name = limit, True, name
        self._model = model
        self._waiting: list[_Ticket[Row]] = []
        self._lock = threading.Lock()
        self._busy = threading.Lock()

    def __call__(self, pixels: NDArray[np.uint8]) -> Sequence[Row]:
        """The rows of these frames.

        Raises what the model raises; OutOfMemory if a single frame is too much; AnalyzerFault for a wrong number of
        rows.
        """
        if not self.together:
            return self._rows(pixels)
        ticket: _Ticket[Row] = _Ticket(pixels)
        with self._lock:
            self._waiting.append(ticket)
        with self._busy:
            if not ticket.done.is_set():
                self._serve(self._next_batch(ticket))
        if ticket.error is not None:
            raise ticket.error
        assert ticket.rows is not None
        return ticket.rows

    def _next_batch(self, own: _Ticket[Row]) -> list[_Ticket[Row]]:
        """The caller's frames and, as far as the limit allows, others' of the same size that wait."""
        with self._lock:
            batch, count = [own], len(own.pixels)
            for ticket in self._waiting:
                fits = ticket.pixels.shape[1:] == own.pixels.shape[1:] and count + len(ticket.pixels) <= self.limit
                if ticket is not own and fits:
                    batch.append(ticket)
                    count += len(ticket.pixels)
            taken = {id(ticket) for ticket in batch}
            self._waiting = [ticket for ticket in self._waiting if id(ticket) not in taken]
        return batch

    def _serve(self, batch: list[_Ticket[Row]]) -> None:
        try:
            pixels = batch[0].pixels if len(batch) == 1 else np.concatenate([ticket.pixels for ticket in batch])
            rows = self._rows(pixels)
            start = 0
            for ticket in batch:
                ticket.rows = rows[start : start + len(ticket.pixels)]
                start += len(ticket.pixels)
        except Exception as error:
            for ticket in batch:
                ticket.error = error
        finally:
            for ticket in batch:
                ticket.done.set()

    def _rows(self, pixels: NDArray[np.uint8]) -> list[Row]:
        rows: list[Row] = []
        while len(rows) < len(pixels):
            part = pixels[len(rows) : len(rows) + self.limit]
            try:
                found = self._model(part)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._lower_limit(len(part), error)
                continue
            if len(found) != len(part):
                fault = f"it returned {len(found)} results for {len(part)} frames; it must return one for each frame"
                raise AnalyzerFault(self._name, fault)
            rows += found
        return rows

    def _lower_limit(self, tried: int, error: Exception) -> None:
        if tried <= 1:
            raise OutOfMemory(f"not even one frame fits: {error}") from error
        self.limit = tried // 2
        _log.warning("out of memory with %d frames at once; %d from now on", tried, self.limit)
        error.__traceback__ = None  # its frames hold the tensors
        gc.collect()
        _release_cached()


def frames_at_first(device: str) -> int:
    """The limit to begin with on "cpu" or "cuda"."""
    return _FIRST_LIMIT_CUDA if device.startswith("cuda") else _FIRST_LIMIT


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch, ONNX Runtime or NumPy says that memory ran out, on a GPU or not."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        sign in text for sign in ("out of memory", "can't allocate memory", "failed to allocate memory", "bad_alloc")
    )


def _release_cached() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
