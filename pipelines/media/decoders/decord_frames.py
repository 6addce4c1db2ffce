"""decord: the cheapest way to every frame, for the few files it is right for (see `choose_decoder`)."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipelines.errors import MediaError
from pipelines.media.addresses import AddressRefused, LocalFile, read_address
from pipelines.media.decoders.contract import FrameRequest
from pipelines.media.frames import FrameBatch
from pipelines.media.sampling import Sampling, Segment, ShownFrame


class DecordDecoder:
    """VP8/VP9 in WebM, unrotated, local; anything else may come out wrong."""

    name = "decord"

    def frames(
        self, uri: str, segment: Segment, sampling: Sampling, size: tuple[int, int], batch_size: int
    ) -> Iterator[FrameBatch]:
        """See Decoder.frames."""
        try:
            yield from _frames(_path(uri), segment, sampling, size, batch_size)
        except RuntimeError as error:  # decord's only error class
            raise MediaError(uri, str(error).strip().splitlines()[-1], segment.start_s) from error

    def read(self, uri: str, requests: Sequence[FrameRequest], batch_size: int) -> Iterator[tuple[int, FrameBatch]]:
        """See Decoder.read. One pass for each request."""
        for number, request in enumerate(requests):
            for batch in self.frames(uri, request.segment, request.sampling, request.size, batch_size):
                yield number, batch


def _path(uri: str) -> str:
    try:
        address = read_address(uri)
    except AddressRefused as error:
        raise MediaError(uri, str(error)) from None
    if not isinstance(address, LocalFile):
        raise MediaError(uri, "decord reads local files only")
    return address.path


def _frames(
    path: str, segment: Segment, sampling: Sampling, size: tuple[int, int], batch_size: int
) -> Iterator[FrameBatch]:
    import decord  # noqa: PLC0415

    height, width = size
    reader = decord.VideoReader(path, ctx=decord.cpu(0), width=width, height=height, num_threads=1)
    wanted, times = _wanted(reader, segment, sampling)
    for at in range(0, len(wanted), batch_size):
        indices = np.array(wanted[at : at + batch_size], np.int64)
        yield FrameBatch(reader.get_batch(indices.tolist()).asnumpy(), times[indices], indices)


def _wanted(reader: Any, segment: Segment, sampling: Sampling) -> tuple[list[int], Any]:
    """The numbers of the wanted frames, and every frame's time (WebM's are whole milliseconds)."""
    keyframes = set(reader.get_key_indices())
    spans = reader.get_frame_timestamp(range(len(reader))).astype(np.float64)
    times = np.round(spans[:, 0] - spans[0, 0], 3)
    ends = [*times[1:], times[-1] + (spans[-1, 1] - spans[-1, 0])]
    wanted = [
        i
        for i, (time_s, end_s) in enumerate(zip(times, ends, strict=True))
        if segment.contains(time_s) and sampling.selects(ShownFrame(time_s, end_s, i, i in keyframes))
    ]
    return wanted, times
