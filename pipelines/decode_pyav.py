"""The exact decoder: FFmpeg through PyAV, frame by frame.

It enters a file at the keyframe before the segment and never trusts a seek: it checks where it landed. Only containers
whose seeking and packet times are right are entered so; all others are decoded from their beginning.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import av.error
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from pipelines.container import OpenVideo, explain, open_video
from pipelines.decode import FrameRequest
from pipelines.errors import MediaError
from pipelines.frames import FrameBatch
from pipelines.sampling import Sampling, Segment

# A stream may end this much before its declared end without being called cut off: headers round.
_END_TOLERANCE_S = 0.5


@dataclass(frozen=True)
class Picture:
    """A decoded frame (PyAV's), when it is shown, and its number in the stream."""

    frame: Any
    time_s: float
    next_time_s: float
    index: int


class PyAvDecoder:
    """Right for every container FFmpeg can read; edit lists, open GOPs, MPEG-TS and rotation included."""

    name = "pyav"

    def __init__(self, threads: int = 2) -> None:
        self._threads = threads

    def frames(
        self, uri: str, segment: Segment, sampling: Sampling, size: tuple[int, int], batch_size: int
    ) -> Iterator[FrameBatch]:
        """See Decoder.frames."""
        for _, batch in self.read(uri, [FrameRequest(segment, sampling, size)], batch_size):
            yield batch

    def read(self, uri: str, requests: Sequence[FrameRequest], batch_size: int) -> Iterator[tuple[int, FrameBatch]]:
        """See Decoder.read. All requests share one decoding pass."""
        batchers = [_Batcher(request, batch_size) for request in requests]
        damage: MediaError | None = None
        try:
            for picture in _pictures(uri, [r.segment for r in requests], self._threads):
                for number, batcher in enumerate(batchers):
                    if batcher.add(picture):
                        yield number, batcher.take()
        except MediaError as error:
            damage = error
        for number, batcher in enumerate(batchers):
            if batcher.pending:
                yield number, batcher.take()
        if damage:
            raise damage


class _Batcher:
    """Collects one request's frames."""

    def __init__(self, request: FrameRequest, batch_size: int) -> None:
        self._request = request
        self._batch_size = batch_size
        self.pending: list[tuple[NDArray[np.uint8], float, int]] = []

    def add(self, picture: Picture) -> bool:
        """Keep the picture if it is wanted; whether a batch is full."""
        request = self._request
        if not request.segment.contains(picture.time_s):
            return False
        if not request.sampling.selects(picture.time_s, picture.next_time_s):
            return False
        self.pending.append((to_rgb(picture.frame, request.size), picture.time_s, picture.index))
        return len(self.pending) == self._batch_size

    def take(self) -> FrameBatch:
        """What was collected."""
        pixels, times, indices = zip(*self.pending, strict=True)
        self.pending = []
        return FrameBatch(np.stack(pixels), np.array(times, np.float64), np.array(indices, np.int64))


def to_rgb(frame: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A PyAV frame as uint8 (height, width, 3), upright, scaled to exactly `size` (the aspect is not kept)."""
    turns = round(frame.rotation / 90) % 4
    height, width = size if turns % 2 == 0 else size[::-1]
    # swscale's bilinear filter widens when it shrinks a picture, so it does not alias.
    rgb = frame.reformat(width=width, height=height, format="rgb24", interpolation=Interpolation.BILINEAR)
    pixels: NDArray[np.uint8] = rgb.to_ndarray()
    return np.rot90(pixels, turns) if turns else pixels


def _pictures(uri: str, segments: Sequence[Segment], threads: int) -> Iterator[Picture]:
    """Pictures from the first segment's start or a little before, to the last segment's end."""
    start_s = min(segment.start_s for segment in segments)
    previous, gap_s = None, None
    with open_video(uri) as video:
        declared_s, tick_s = video.stream_duration_s, float(video.stream.time_base)
        for frame, time_s, index in _timed_frames(video, start_s, threads):
            if previous is not None:
                if time_s <= previous[1]:
                    continue  # never on screen: the next frame is as early
                gap_s = time_s - previous[1]
                yield Picture(previous[0], previous[1], time_s, previous[2])
            if all(segment.ends_before(time_s) for segment in segments):
                return
            previous = (frame, time_s, index)
        gap_s = gap_s or 1 / float(video.stream.average_rate or 25)
    end_s = 0.0
    if previous is not None:
        frame, time_s, index = previous
        end_s = time_s + (frame.duration * tick_s if frame.duration else gap_s)
        yield Picture(frame, time_s, end_s, index)
    if declared_s and end_s < declared_s - max(_END_TOLERANCE_S, 2 * gap_s):
        raise MediaError(uri, f"cut off: {declared_s:.1f} s are declared", end_s)


def _timed_frames(video: OpenVideo, start_s: float, threads: int) -> Iterator[tuple[Any, float, int]]:
    """Good frames with their time and number, from the keyframe before `start_s`, or from the first."""
    reader = _Reader(video, threads)
    if start_s <= 0 or not _may_enter_midway(video):
        return reader.from_beginning()
    with open_video(video.uri) as beginning:
        origin = _first_good_frame(beginning)
    return reader.from_keyframe_before(start_s, origin)


def _may_enter_midway(video: OpenVideo) -> bool:
    """Whether packets carry true times and one frame each, so that frames can be counted undecoded."""
    if any(name in video.format for name in ("mp4", "matroska")):
        return True
    # Interlaced broadcasts may split a frame in two packets.
    return video.format == "mpegts" and video.stream.codec_context.field_order == 1


def _first_good_frame(video: OpenVideo) -> int:
    """The time (in the stream's time base) from which times are counted."""
    for frame in video.container.decode(video.stream):
        if not frame.is_corrupt and frame.pts is not None:
            return int(frame.pts)
    raise MediaError(video.uri, "no frame can be decoded")


class _Reader:
    """One pass through one open file."""

    def __init__(self, video: OpenVideo, threads: int) -> None:
        self._video = video
        context = video.stream.codec_context
        context.thread_type, context.thread_count = "AUTO", threads
        self._time_base = video.stream.time_base
        self._last_time_s = 0.0
        self._read_failure = ""

    def from_beginning(self) -> Iterator[tuple[Any, float, int]]:
        origin: int | None = None
        for index, frame in enumerate(self._good_frames(self._packets(), None)):
            pts = frame.pts if frame.pts is not None else self._guessed_pts(index)
            origin = pts if origin is None else origin
            yield frame, self._time_s(pts - origin), index

    def from_keyframe_before(self, start_s: float, origin: int) -> Iterator[tuple[Any, float, int]]:
        start_pts = origin + int(start_s / self._time_base)
        number, packets = self._seek(start_pts)
        number, gop, rest = _last_gop(packets, start_pts, origin, number)
        entry = gop[0].pts if gop else start_pts
        shown: list[int] = []  # times of the packets given to the decoder, sorted: a frame's rank is its number
        for frame in self._good_frames(_noting(chain(gop, rest), shown, origin), entry):
            if frame.pts is not None and frame.pts >= entry:
                yield frame, self._time_s(frame.pts - origin), number + bisect_left(shown, frame.pts)

    def _packets(self) -> Iterator[Any]:
        """Packets up to the end, or to where reading fails; `_read_failure` says which."""
        try:
            for packet in self._video.container.demux(self._video.stream):
                if packet.size:
                    yield packet
        except av.error.FFmpegError as error:
            self._read_failure = f"damaged: {explain(error)}"

    def _seek(self, start_pts: int) -> tuple[int, Iterator[Any]]:
        """Packets from a keyframe at or before `start_pts`, and how many frames come before; or from the beginning.

        Only where the container's own index counts every frame: elsewhere packets are read, not decoded, to count them.
        """
        video, target = self._video, start_pts
        entries = video.stream.index_entries
        if "mp4" not in video.format or not 0 < video.stream.frames <= len(entries):
            return 0, self._packets()
        numbers = _numbers_by_position(entries)
        back = max(1, int(1 / self._time_base))
        while target > start_pts - 1000 * back:
            video.container.seek(target, stream=video.stream)
            packets = self._packets()
            first = next(packets, None)
            if first is None or first.pts is None or first.pos not in numbers:
                break
            if first.pts <= start_pts and first.is_keyframe:
                return numbers[first.pos], chain([first], packets)
            target, back = target - back, back * 2
        video.container.seek(video.stream.start_time or 0, stream=video.stream)
        return 0, self._packets()

    def _good_frames(self, packets: Iterator[Any], entry: int | None) -> Iterator[Any]:
        """Frames up to the first damage. Raises MediaError there, after the frames that are whole.

        What comes before the first good frame, or before `entry`, lacks its references: that is skipped, not damage.
        """
        good = 0
        for packet in chain(packets, [None]):
            frames, damage = self._decode(packet)
            for frame in frames:
                late = entry is None or (frame.pts or 0) > entry
                if frame.is_corrupt and good and late:
                    raise MediaError(self._video.uri, "damaged frame", self._last_time_s)
                if not frame.is_corrupt:
                    good += 1
                    yield frame
            if damage and good:
                raise MediaError(self._video.uri, damage, self._last_time_s)
        if self._read_failure:
            raise MediaError(self._video.uri, self._read_failure, self._last_time_s)

    def _decode(self, packet: Any) -> tuple[list[Any], str]:
        """Decoded frames, and what is wrong with the packet; if it is, all that the decoder still held comes out."""
        context = self._video.stream.codec_context
        try:
            frames = context.decode(packet)
        except av.error.FFmpegError as error:
            return self._flush(), f"damaged: {explain(error)}"
        if packet is not None and packet.is_corrupt:
            return frames + self._flush(), "damaged packet"
        return frames, ""

    def _flush(self) -> list[Any]:
        context = self._video.stream.codec_context
        try:
            frames: list[Any] = context.decode(None)
        except av.error.FFmpegError:
            frames = []
        context.flush_buffers()
        return frames

    def _time_s(self, ticks: int) -> float:
        self._last_time_s = float(ticks * self._time_base)
        return self._last_time_s

    def _guessed_pts(self, index: int) -> int:
        return round(index / float(self._video.stream.average_rate or 25) / float(self._time_base))


def _last_gop(packets: Iterator[Any], start_pts: int, origin: int, number: int) -> tuple[int, list[Any], Iterator[Any]]:
    """(frames before, packets from the last keyframe at or before `start_pts`, the packets after these)."""
    gop: list[Any] = []
    for packet in packets:
        if packet.is_keyframe and packet.pts is not None and packet.pts <= start_pts:
            number += sum(_is_shown(p, origin) for p in gop)
            gop = []
        gop.append(packet)
        if packet.dts is not None and packet.dts > start_pts:
            break  # no later keyframe can be shown before the start
    return number, gop, packets


def _noting(packets: Iterator[Any], shown: list[int], origin: int) -> Iterator[Any]:
    for packet in packets:
        if _is_shown(packet, origin):
            insort(shown, packet.pts)
        yield packet


def _is_shown(packet: Any, origin: int) -> bool:
    """Whether a packet becomes a frame: edit lists hide some, and broadcasts begin amid a picture."""
    return packet.pts is not None and packet.pts >= origin and not packet.is_discard


def _numbers_by_position(entries: Any) -> dict[int, int]:
    """How many shown frames come before the one that is stored at a byte position, in decoding order."""
    count = 0
    numbers: dict[int, int] = {}
    for entry in entries:
        numbers.setdefault(entry.pos, count)
        count += not entry.is_discard
    return numbers
