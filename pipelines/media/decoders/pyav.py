"""The exact decoder: FFmpeg through PyAV.

Containers whose packet times are right are read packet by packet, and only what is wanted is decoded; all others are
decoded from their beginning. Either way the frames are the same.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from pipelines.errors import MediaError
from pipelines.media.container import OpenVideo, open_video
from pipelines.media.decoders.contract import FrameRequest
from pipelines.media.decoders.packets import Lost, PacketReader
from pipelines.media.decoders.wanted_frames import Inexact, Picture, first_good_pts, sampled, sequential
from pipelines.media.frames import FrameBatch
from pipelines.media.sampling import Sampling, Segment, ShownFrame

Shape = tuple[int, int, int, int]


def _nothing() -> None:
    pass


def _new_pixels(shape: Shape) -> NDArray[np.uint8]:
    return np.empty(shape, np.uint8)


class PyAvDecoder:
    """Right for every container FFmpeg can read; edit lists, open GOPs, MPEG-TS and rotation included.

    `new_pixels` makes the arrays that batches are decoded into; `on_progress` is called whenever a packet was read.
    """

    name = "pyav"

    def __init__(
        self,
        threads: int = 1,
        new_pixels: Callable[[Shape], NDArray[np.uint8]] = _new_pixels,
        on_progress: Callable[[], None] = _nothing,
    ) -> None:
        self._threads = threads
        self._new_pixels = new_pixels
        self._on_progress = on_progress

    def frames(
        self, uri: str, segment: Segment, sampling: Sampling, size: tuple[int, int], batch_size: int
    ) -> Iterator[FrameBatch]:
        """See Decoder.frames."""
        for _, batch in self.read(uri, [FrameRequest(segment, sampling, size)], batch_size):
            yield batch

    def read(self, uri: str, requests: Sequence[FrameRequest], batch_size: int) -> Iterator[tuple[int, FrameBatch]]:
        """See Decoder.read. All requests share one decoding pass."""
        batchers = [_Batcher(request, batch_size, self._new_pixels) for request in requests]
        damage: MediaError | None = None
        try:
            for picture in self._pictures(uri, requests):
                for number, batcher in enumerate(batchers):
                    if batcher.add(picture):
                        yield number, batcher.take()
        except MediaError as error:
            damage = error
        for number, batcher in enumerate(batchers):
            if batcher.count:
                yield number, batcher.take()
        if damage:
            raise damage

    def _pictures(
        self, uri: str, requests: Sequence[FrameRequest], given: ShownFrame | None = None
    ) -> Iterator[Picture]:
        """Pictures in order, all that any request wants among them; of a pass that broke off, those after `given`."""
        for _ in range(2):  # a second time where a seek went astray: from the beginning then
            with open_video(uri) as video:
                if not packets_are_true(video):
                    yield from _after(given, sequential(self._reader(video), _end_of(requests)))
                    return
                try:
                    for picture in self._sampled(self._reader(video), requests, given):
                        given = picture.shown
                        yield picture
                    return
                except Lost:
                    continue
                except Inexact:
                    break
        with open_video(uri) as video:
            yield from _after(given, sequential(self._reader(video), _end_of(requests)))

    def _sampled(
        self, reader: PacketReader, requests: Sequence[FrameRequest], given: ShownFrame | None
    ) -> Iterator[Picture]:
        """The same from a file whose packets are true, decoding only what is needed. Raises Inexact, Lost."""
        start_s = min(request.segment.start_s for request in requests)

        def wanted(shown: ShownFrame) -> bool:
            return (given is None or shown.index > given.index) and any(request.wants(shown) for request in requests)

        from_s = max(start_s, given.time_s) if given else start_s
        yield from sampled(reader, _origin_pts(reader.video.uri, requests), from_s, _end_of(requests), wanted)

    def _reader(self, video: OpenVideo) -> PacketReader:
        return PacketReader(video, self._threads, self._on_progress)


def _origin_pts(uri: str, requests: Sequence[FrameRequest]) -> int:
    for request in requests:
        if request.origin_pts is not None:
            return request.origin_pts
    with open_video(uri) as beginning:
        return first_good_pts(beginning)


class _Batcher:
    """Collects one request's frames, converting each straight into the batch's array."""

    def __init__(
        self, request: FrameRequest, batch_size: int, new_pixels: Callable[[Shape], NDArray[np.uint8]]
    ) -> None:
        self._request = request
        self._shape = (batch_size, *request.size, 3)
        self._new_pixels = new_pixels
        self._scaler = VideoReformatter()
        self._pixels: NDArray[np.uint8] | None = None
        self._times: list[float] = []
        self._indices: list[int] = []

    @property
    def count(self) -> int:
        """How many frames wait to be taken."""
        return len(self._times)

    def add(self, picture: Picture) -> bool:
        """Keep the picture if it is wanted; whether a batch is full."""
        if not self._request.wants(picture.shown):
            return False
        if self._pixels is None:
            self._pixels = self._new_pixels(self._shape)
        to_rgb(picture.frame, self._pixels[self.count], self._scaler)
        self._times.append(picture.shown.time_s)
        self._indices.append(picture.shown.index)
        return self.count == self._shape[0]

    def take(self) -> FrameBatch:
        """What was collected."""
        assert self._pixels is not None
        batch = FrameBatch(
            self._pixels[: self.count], np.array(self._times, np.float64), np.array(self._indices, np.int64)
        )
        self._pixels, self._times, self._indices = None, [], []
        return batch


def to_rgb(frame: Any, into: NDArray[np.uint8], scaler: VideoReformatter) -> None:
    """Write a PyAV frame, upright, into uint8 (height, width, 3), scaled to that size (the aspect is not kept).

    `scaler` is kept from frame to frame. One of the frame's own would be set up, and start threads, for each.
    """
    turns = round(frame.rotation / 90) % 4
    height, width = into.shape[:2] if turns % 2 == 0 else into.shape[1::-1]
    # swscale's bilinear filter widens when it shrinks a picture, so it does not alias.
    rgb = scaler.reformat(frame, width, height, "rgb24", interpolation=Interpolation.BILINEAR, threads=1)
    plane: Any = rgb.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, : width * 3]
    into[:] = np.rot90(rows.reshape(height, width, 3), turns)


def _end_of(requests: Sequence[FrameRequest]) -> Callable[[float], bool]:
    return lambda time_s: all(request.segment.ends_before(time_s) for request in requests)


def _after(given: ShownFrame | None, pictures: Iterator[Picture]) -> Iterator[Picture]:
    return (picture for picture in pictures if given is None or picture.shown.index > given.index)


def packets_are_true(video: OpenVideo) -> bool:
    """Whether packets carry true times and one frame each, so that frames can be judged and counted undecoded."""
    if any(name in video.format for name in ("mp4", "matroska")):
        return True
    # Interlaced broadcasts may split a frame in two packets.
    return video.format == "mpegts" and video.stream.codec_context.field_order == 1
