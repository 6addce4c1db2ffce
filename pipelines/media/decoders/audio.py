"""From a file to sound: one stretch of its first audio track, as 16 kHz mono, by PyAV.

A stretch is the same whether it is read alone or as part of a longer one (up to the container's rounding of times): the
resampler starts on a fixed grid, far enough before the stretch for its filter, and the decoder, to have settled.
"""

import math
from collections.abc import Iterator
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from pipelines.errors import MediaError
from pipelines.media.container import OpenAudio, explain, open_audio
from pipelines.media.sound import RATE_HZ, Samples

_PREROLL_S = 1.0
# Where the index says truly what time a packet is. Elsewhere the file is read from its beginning.
_SEEKABLE = ("mp4", "matroska", "wav", "flac")
_GAP_S = 0.05  # containers round times; only more than this is a real gap
_LONGEST_GAP_S = 3600.0


def read_samples(uri: str, start_s: float, end_s: float = math.inf) -> tuple[Samples, MediaError | None]:
    """The sound in [start_s, end_s), silence where the track has a gap, and the damage that ended it early, if any.

    Raises MediaError where there is no sound to read at all.
    """
    with open_audio(uri) as audio:
        reader = _Reader(audio, start_s, end_s)
        pieces = list(reader.resampled())
        whole = np.concatenate(pieces) if pieces else np.empty(0, np.float32)
        samples = Samples(whole, reader.first_s).between(start_s, end_s)
        return samples, reader.damage


class _Reader:
    """One pass over one stretch. Positions count input samples from the clock's zero."""

    def __init__(self, audio: OpenAudio, start_s: float, end_s: float) -> None:
        self.damage: MediaError | None = None
        self._audio = audio
        self._rate = audio.stream.codec_context.sample_rate
        if not self._rate:
            raise MediaError(audio.uri, "its audio track has no sample rate")
        grid = self._rate // math.gcd(self._rate, RATE_HZ)  # so many make a whole number of ours
        self._first = math.floor((start_s - _PREROLL_S) * self._rate / grid) * grid
        self._end = math.inf if math.isinf(end_s) else math.ceil((end_s + _PREROLL_S) * self._rate)
        self.first_s = self._first / self._rate

    def resampled(self) -> Iterator[NDArray[np.float32]]:
        """float32 pieces at 16 kHz; the first sample is at `first_s`."""
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
        for piece in self._gapless():
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece[None]), format="flt", layout="mono")
            frame.rate = self._rate
            yield from (out.to_ndarray()[0] for out in resampler.resample(frame))
        yield from (out.to_ndarray()[0] for out in resampler.resample(None))

    def _gapless(self) -> Iterator[NDArray[np.float32]]:
        """Mono at the file's rate from `_first` on: gaps are filled, overlaps and what is outside left out."""
        position, tolerance = self._first, 0.0
        for at, values in self._mono():
            late = at - position if abs(at - position) > tolerance else 0
            if at >= self._end:
                return
            if late > _LONGEST_GAP_S * self._rate:
                self.damage = MediaError(self._audio.uri, "the sound's times jump", position / self._rate)
                return
            if late > 0:
                yield np.zeros(late, np.float32)
            wanted = values[max(0, -late) :]
            if len(wanted):
                yield wanted
                position, tolerance = position + max(0, late) + len(wanted), _GAP_S * self._rate

    def _mono(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(position, float32 mono) of each decoded frame."""
        mixer, kind, position = None, None, 0
        for frame in self._frames():
            if frame.pts is not None:
                position = round((float(frame.pts * frame.time_base) - self._audio.zero_s) * self._rate)
            if mixer is None or kind != (frame.format.name, frame.layout.name, frame.sample_rate):
                kind = (frame.format.name, frame.layout.name, frame.sample_rate)  # it may change midway
                mixer = av.AudioResampler(format="flt", layout="mono", rate=self._rate)
            frame.pts = None
            for mixed in mixer.resample(frame):
                values = mixed.to_ndarray()[0]
                yield position, values
                position += len(values)

    def _frames(self) -> Iterator[Any]:
        """Decoded frames, up to the first damage after a good one."""
        container, stream, decoded, last_s = self._audio.container, self._audio.stream, 0, 0.0
        self._seek()
        try:
            for packet in container.demux(stream):
                for frame in self._decoded(packet, decoded > 0, last_s):
                    decoded += 1
                    last_s = float((frame.pts or 0) * frame.time_base) - self._audio.zero_s if frame.pts else last_s
                    yield frame
                if self.damage:
                    return
        except av.error.FFmpegError as error:
            self.damage = MediaError(self._audio.uri, f"damaged sound: {explain(error)}", max(0.0, last_s))
        if not decoded:
            raise self.damage or MediaError(self._audio.uri, "no sound can be decoded")

    def _decoded(self, packet: Any, after_good: bool, last_s: float) -> list[Any]:
        try:
            return list(packet.decode())
        except av.error.FFmpegError as error:
            if after_good:  # before the first good frame a decoder may lack what came earlier
                self.damage = MediaError(self._audio.uri, f"damaged sound: {explain(error)}", max(0.0, last_s))
            return []

    def _seek(self) -> None:
        target_s = self.first_s + self._audio.zero_s - _PREROLL_S
        if target_s > 0 and any(name in self._audio.format for name in _SEEKABLE):
            stream = self._audio.stream
            self._audio.container.seek(int(target_s / stream.time_base), stream=stream)
