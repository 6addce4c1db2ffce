"""The packets of an open video: what is stored, as it lies in the file, before it is decoded."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any

import av.error

from pipelines.errors import MediaError, without_query
from pipelines.media.container import OpenVideo, explain

_NOTED_EVERY_S = 1.0


class Lost(Exception):
    """A seek did not lead to where it should: the file is to be read from its beginning."""


@dataclass
class Known:
    """What is kept of a file for its other segments.

    `hidden`: see `_hidden`. `counted`: by a keyframe's time in ticks, how many shown frames are stored before it; None
    where two keyframes have the same.
    """

    hidden: tuple[int, ...] | None = None
    counted: dict[int, int | None] = field(default_factory=dict)


@lru_cache(maxsize=16)
def _known_of(*_file: object) -> Known:
    return Known()


class PacketReader:
    """Packets of an open video, one decoder, and what both say about damage."""

    def __init__(self, video: OpenVideo, threads: int, on_progress: Callable[[], None]) -> None:
        self.video = video
        self.tick_s = video.stream.time_base
        self.last_time_s = 0.0
        self._read_failure = ""
        self._on_progress = on_progress
        self._context = video.stream.codec_context
        self._context.thread_type, self._context.thread_count = "AUTO", threads
        container = video.container
        facts = (container.duration, container.bit_rate, container.start_time, video.stream.frames)
        self.known = _known_of(without_query(video.uri), *facts)
        self._noted_pts: int | None = None

    def packets(self) -> Iterator[Any]:
        """Packets up to the end, or to where reading fails."""
        try:
            for packet in self.video.container.demux(self.video.stream):
                if packet.size:  # not `dts is None`: Matroska has none
                    yield packet
        except av.error.FFmpegError as error:
            self._read_failure = f"damaged: {explain(error)}"

    def note_keyframe(self, packet: Any, number: int) -> None:
        """Keep how many shown frames are stored before this keyframe; not of each where they are close."""
        near = self._noted_pts is not None and 0 <= packet.pts - self._noted_pts < _NOTED_EVERY_S / self.tick_s
        if not near:
            self._noted_pts = packet.pts
            if self.known.counted.setdefault(packet.pts, number) != number:
                self.known.counted[packet.pts] = None

    def decode(self, packet: Any, wanted: bool = True) -> tuple[list[Any], str]:
        """Decoded frames, and what is wrong with the packet; if it is, all that the decoder still held comes out."""
        self._on_progress()
        self._context.skip_frame = "DEFAULT" if wanted else "NONREF"
        try:
            frames = self._context.decode(packet)
        except av.error.FFmpegError as error:
            return self.flush(), f"damaged: {explain(error)}"
        if packet is not None and packet.is_corrupt:
            return frames + self.flush(), "damaged packet"
        return frames, ""

    def flush(self) -> list[Any]:
        """All frames that the decoder still holds; it is as new then."""
        try:
            frames: list[Any] = self._context.decode(None)
        except av.error.FFmpegError:
            frames = []
        self._context.flush_buffers()
        return frames

    def time_s(self, ticks: int) -> float:
        """A duration in ticks of the stream, in seconds."""
        return float(ticks * self.tick_s)

    def damage(self, cause: str) -> MediaError:
        """The error that says so, where the last good frame was."""
        return MediaError(self.video.uri, cause, self.last_time_s)

    def check_end(self, end_s: float, gap_s: float, tolerance_s: float = 0.5) -> None:
        """Raises MediaError if reading failed, or the stream ends (at `end_s`) long before its declared end."""
        if self._read_failure:
            raise self.damage(self._read_failure)
        if (declared_s := self.video.stream_duration_s) and end_s < declared_s - max(tolerance_s, 2 * gap_s):
            raise MediaError(self.video.uri, f"cut off: {declared_s:.1f} s are declared", end_s)

    @property
    def usual_gap_s(self) -> float:
        """How long a frame is on screen, as the header says."""
        return 1 / float(self.video.stream.average_rate or 25)


def seek(reader: PacketReader, start_pts: int) -> tuple[int, Iterator[Any]]:
    """Packets from a keyframe at or before `start_pts`, and how many frames come before; or from the beginning.

    MP4's own index counts every frame. Elsewhere packets are read, not decoded, to count them; what was counted is kept
    (`note_keyframe`), so that the file's next segments go on from there. Raises Lost.
    """
    video, target = reader.video, start_pts
    entries = video.stream.index_entries
    if "mp4" not in video.format or not 0 < video.stream.frames <= len(entries):
        return _seek_counted(reader, start_pts)
    back = max(1, int(1 / reader.tick_s))
    while target > start_pts - 1000 * back:
        video.container.seek(target, stream=video.stream)
        packets = reader.packets()
        first = next(packets, None)
        at = None if first is None or first.pts is None else _position(entries, first)
        if first is None or at is None:
            break
        if first.pts <= start_pts and first.is_keyframe:
            return at - bisect_left(_hidden(reader), at), chain([first], packets)
        target, back = target - back, back * 2
    video.container.seek(video.stream.start_time or 0, stream=video.stream)
    return 0, reader.packets()


def _seek_counted(reader: PacketReader, start_pts: int) -> tuple[int, Iterator[Any]]:
    counted = reader.known.counted
    before = [pts for pts, number in counted.copy().items() if pts <= start_pts and number is not None]
    target = max(before, default=None)
    if target is None or "mpegts" in reader.video.format:  # it has no index: a seek lands where it likes
        return 0, reader.packets()
    reader.video.container.seek(target, stream=reader.video.stream)
    packets = reader.packets()
    for packet in packets:
        number = counted.get(packet.pts) if packet.is_keyframe else None
        if number is not None and packet.pts <= start_pts:
            return number, chain([packet], packets)
        if packet.pts is not None and packet.pts > start_pts:
            break
    counted.clear()
    raise Lost


def _position(entries: Any, packet: Any) -> int | None:
    """Which of the index's entries, which are in decoding order, is this packet's."""
    at = len(entries) if packet.dts is None else bisect_left(entries, packet.dts, key=lambda entry: entry.timestamp)
    while at < len(entries) and entries[at].timestamp == packet.dts:
        if entries[at].pos == packet.pos:
            return at
        at += 1
    return None


def _hidden(reader: PacketReader) -> tuple[int, ...]:
    """The positions of the index's entries that are never shown, sorted. It takes a third of a second for ten hours."""
    if reader.known.hidden is None:
        entries = reader.video.stream.index_entries
        reader.known.hidden = tuple(at for at, entry in enumerate(entries) if entry.is_discard)
    return reader.known.hidden
