"""From an open file to the pictures that are wanted, by packets: what is not needed is never decoded.

`sampled` reads packets, groups them by keyframe, and gives the decoder only the groups in which a frame is wanted, of
these no disposable frame that is not, and nothing after the last one. It never trusts a seek: it checks where it
landed, and that each wanted frame came out. `sequential` decodes everything: for packets that cannot be trusted.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from pipelines.errors import MediaError
from pipelines.media.container import OpenVideo
from pipelines.media.decoders.packets import PacketReader, seek
from pipelines.media.sampling import ShownFrame

# A group of packets is cut here, so that a stream with one keyframe an hour needs no more memory than others.
_GROUP_PACKETS, _GROUP_BYTES = 512, 32 << 20
Wanted = Callable[[ShownFrame], bool]


@dataclass(frozen=True)
class Picture:
    """A decoded frame (PyAV's) and when it is shown."""

    frame: Any
    shown: ShownFrame


class Inexact(Exception):
    """A wanted frame did not come out: this file's keyframes or times are not what they claim."""


def first_good_pts(video: OpenVideo) -> int:
    """The time, in ticks, from which times are counted. Raises MediaError if nothing can be decoded."""
    for frame in video.container.decode(video.stream):
        if not frame.is_corrupt and frame.pts is not None:
            return int(frame.pts)
    raise MediaError(video.uri, "no frame can be decoded")


def sequential(reader: PacketReader, end: Callable[[float], bool]) -> Iterator[Picture]:
    """Every picture from the first, until `end(time_s)`. Raises MediaError at the first damage, after what is whole."""
    previous: tuple[Any, float, int] | None = None
    gap_s = reader.usual_gap_s
    for frame, time_s, index in _timed(reader):
        if previous is not None:
            if time_s <= previous[1]:
                continue  # never on screen: the next frame is as early
            gap_s = time_s - previous[1]
            yield Picture(previous[0], ShownFrame(previous[1], time_s, previous[2], bool(previous[0].key_frame)))
        if end(time_s):
            return
        previous = (frame, time_s, index)
    end_s = 0.0
    if previous is not None:
        frame, time_s, index = previous
        end_s = time_s + (reader.time_s(frame.duration) if frame.duration else gap_s)
        yield Picture(frame, ShownFrame(time_s, end_s, index, bool(frame.key_frame)))
    reader.check_end(end_s, gap_s)


def _timed(reader: PacketReader) -> Iterator[tuple[Any, float, int]]:
    """Good frames with their time and number. Before the first good one, references may be missing: no damage yet."""
    origin: int | None = None
    index, damage = 0, ""
    for packet in chain(reader.packets(), [None]):
        frames, damage = reader.decode(packet)
        for frame in frames:
            if frame.is_corrupt and index:
                raise reader.damage("damaged frame")
            if frame.is_corrupt:
                continue
            pts = frame.pts if frame.pts is not None else round(index * reader.usual_gap_s / float(reader.tick_s))
            origin = pts if origin is None else origin
            reader.last_time_s = reader.time_s(pts - origin)
            yield frame, reader.last_time_s, index
            index += 1
        if damage and index:
            raise reader.damage(damage)


def sampled(reader: PacketReader, origin: int, start_s: float, end: Callable[[float], bool], wanted: Wanted) -> Any:
    """The wanted pictures at or after `start_s`, until `end(time_s)`.

    Raises MediaError at the first damage that a wanted picture may depend on; Inexact, or Lost before the first.
    """
    number, packets = seek(reader, origin + int(start_s / reader.tick_s))
    return _Sampler(reader, origin, number, wanted).pictures(_groups(packets), end)


def _groups(packets: Iterator[Any]) -> Iterator[list[Any]]:
    """Packets in decoding order, from each keyframe to before the next; very long groups in pieces."""
    group: list[Any] = []
    size = 0
    for packet in packets:
        if group and (packet.is_keyframe or len(group) >= _GROUP_PACKETS or size >= _GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(packet)
        size += packet.size
    if group:
        yield group


class _Sampler:
    """Feeds the decoder group by group, knowing the next one: its first frames may be shown before its keyframe."""

    def __init__(self, reader: PacketReader, origin: int, number: int, wanted: Wanted) -> None:
        self._reader, self._origin, self._number, self._wanted = reader, origin, number, wanted
        self._shown: list[int] = []  # times of the packets seen, sorted: a frame's rank is its number
        self._last_gap = 0
        self._whole_before = False  # the decoder has all that came before the group
        self._due: dict[int, ShownFrame] = {}

    def pictures(self, groups: Iterator[list[Any]], ended: Callable[[float], bool]) -> Iterator[Picture]:
        group = self._noted(next(groups, []))
        while group:
            following = self._noted(next(groups, []))
            yield from self._group(group, following)
            times = [p.pts for p in following if self._is_shown(p)]
            if times and ended(self._reader.time_s(min(times) - self._origin)):
                yield from self._flush()
                return
            group = following
        yield from self._flush()
        end = (self._shown[-1] if self._shown else self._origin) + self._gap()
        self._reader.check_end(self._reader.time_s(end - self._origin), self._reader.time_s(self._gap()))

    def _gap(self) -> int:
        """How long the last frame seen is on screen, in ticks."""
        return self._last_gap or round(self._reader.usual_gap_s / float(self._reader.tick_s))

    def _noted(self, group: list[Any]) -> list[Any]:
        if group and group[0].is_keyframe and group[0].pts is not None:
            self._reader.note_keyframe(group[0], self._number + len(self._shown))
        for packet in group:
            if self._is_shown(packet):
                insort(self._shown, packet.pts)
                self._last_gap = packet.duration or self._last_gap
        return group

    def _is_shown(self, packet: Any) -> bool:
        """Whether a packet becomes a frame: edit lists hide some, and broadcasts begin amid a picture."""
        return packet.pts is not None and packet.pts >= self._origin and not packet.is_discard

    def _group(self, group: list[Any], following: list[Any]) -> Iterator[Picture]:
        wanted = {packet.pts: shown for packet in group if (shown := self._wants(packet))}
        goes_on = bool(following) and not following[0].is_keyframe
        stops = not following and "mpeg" in self._reader.video.format  # a broadcast: only a decoder sees that it is cut
        to_its_end = goes_on or stops or any(self._wants(packet) for packet in _leading(following))
        if not wanted and not to_its_end:
            yield from self._flush()
            return
        if not self._whole_before:
            # What the skipped group was needed for cannot be decoded, and is not wanted.
            yield from self._flush()
            hidden = {id(packet) for packet in _leading(group)}
            group = [packet for packet in group if id(packet) not in hidden]
        last = len(group) if to_its_end else 1 + max(i for i, packet in enumerate(group) if packet.pts in wanted)
        self._due |= wanted
        for packet in group[:last]:
            yield from self._decoded(*self._reader.decode(packet, packet.pts in wanted))
        self._whole_before = last == len(group)

    def _wants(self, packet: Any) -> ShownFrame | None:
        if not self._is_shown(packet):
            return None
        at = bisect_right(self._shown, packet.pts)
        after = self._shown[at] if at < len(self._shown) else packet.pts + (packet.duration or self._gap())
        time_s, next_time_s = (self._reader.time_s(pts - self._origin) for pts in (packet.pts, after))
        number = self._number + bisect_left(self._shown, packet.pts)
        shown = ShownFrame(time_s, next_time_s, number, bool(packet.is_keyframe))
        return shown if self._wanted(shown) else None

    def _decoded(self, frames: list[Any], damage: str) -> Iterator[Picture]:
        for frame in frames:
            if frame.is_corrupt and (frame.pts is None or frame.pts >= self._origin):
                raise self._reader.damage("damaged frame")
            if frame.pts is None or frame.pts < self._origin:
                continue
            self._reader.last_time_s = self._reader.time_s(frame.pts - self._origin)
            if shown := self._due.pop(frame.pts, None):
                if self._due and min(self._due) < frame.pts:
                    raise Inexact  # an earlier one was left out
                yield Picture(frame, shown)
        if damage:
            raise self._reader.damage(damage)

    def _flush(self) -> Iterator[Picture]:
        """Leave the run of groups that was fed: all that was wanted of it must come out now."""
        yield from self._decoded(self._reader.flush(), "")
        self._whole_before = False
        if self._due:
            raise Inexact


def _leading(group: list[Any]) -> list[Any]:
    """The packets shown before their keyframe (an open GOP's): they need the group before, too."""
    if not group or not group[0].is_keyframe or group[0].pts is None:
        return []
    return [packet for packet in group if packet.pts is not None and packet.pts < group[0].pts]
