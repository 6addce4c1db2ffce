"""A GPU's decoder as seen by what reads from it: NV12 frames, on machines without one. It can be made to fail."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pipelines.media.container import open_video
from pipelines.media.decoders import nvdec
from pipelines.media.decoders.nvdec import GpuDecoder
from pipelines.media.decoders.packets import PacketReader


class Nv12Reader(PacketReader):
    """Breaks down at packet `fails_at`, or keeps the frame of packet `loses` to itself; -1 for never."""

    fails_at, loses = -1, -1
    _packets = 0

    def decode(self, packet: Any, wanted: bool = True) -> tuple[list[Any], str]:
        self._packets += 1
        if self._packets == self.fails_at:
            return [], "damaged: Generic error in an external library"
        frames, damage = super().decode(packet, wanted)
        return [] if self._packets == self.loses else [_nv12(frame) for frame in frames], damage

    def flush(self) -> list[Any]:
        return [_nv12(frame) for frame in super().flush()]


def _nv12(frame: Any) -> Any:
    return frame if frame.format.name == "nv12" else frame.reformat(format="nv12")


def stand_in(monkeypatch: pytest.MonkeyPatch, fails_at: int = -1, loses: int = -1) -> None:
    """Let the decoder "nvdec" find a GPU in this process."""

    @contextmanager
    def opened(decoder: GpuDecoder, uri: str) -> Iterator[PacketReader]:
        with open_video(uri) as video:
            reader = Nv12Reader(video, 1, decoder._on_progress)
            reader.fails_at, reader.loses = fails_at, loses
            yield reader

    monkeypatch.setattr(GpuDecoder, "_opened", opened)
    monkeypatch.setattr(nvdec, "nvdec_objection", lambda: "")
