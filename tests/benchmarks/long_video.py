"""A video of hours in constant memory: `python -m tests.benchmarks.long_video [--hours N] [--json]`.

The file is synthetic: ten seconds of packets, repeated, so that its index is as long as a real one's. All segments are
analysed one after another in this process; memory is the proportional set size of it and its decoding processes.
"""

import argparse
import json
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil

from pipelines.media.isolation import DecodeProcesses
from pipelines.media.sampling import plan_segments
from pipelines.records.results import write_results
from pipelines.segments.segment_analyzer import SegmentAnalyzer
from pipelines.segments.task import SegmentTask

_PIECE_S, _FPS = 10, 25
_REPORTED_EVERY_S = 10.0


def main() -> None:
    """Print progress with an ETA, and with --json the memory of the first and the last tenth as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--analyzers", default="brightness")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="long-video-") as folder:
        video = make_video(Path(folder), options.hours)
        info = DecodeProcesses().probe(str(video))
        segments = plan_segments(info.duration_s, 60.0, info.cut_points_s)
        names = tuple(options.analyzers.split(","))
        analyzer = SegmentAnalyzer(device="cpu")
        memory, frames = [], 0
        started = reported = time.monotonic()
        for number, segment in enumerate(segments, start=1):
            task = SegmentTask(str(video), segment, info.without_cut_points(), names, f"{folder}/out")
            frames += analyzer.run(task).frames
            memory.append(_memory_mib())
            now = time.monotonic()
            if now - reported > _REPORTED_EVERY_S or number == len(segments):
                reported = now
                left_s = (now - started) / number * (len(segments) - number)
                print(f"{number}/{len(segments)} segments, {memory[-1]} MiB, about {left_s:.0f} s left", flush=True)
        write_results(f"{folder}/out", str(video), info.duration_s, names)
        tenth = max(1, len(memory) // 10)
        report = {
            "hours": round(info.duration_s / 3600, 2),
            "frames": frames,
            "seconds": round(time.monotonic() - started, 1),
            "first_tenth_mib": max(memory[:tenth]),
            "last_tenth_mib": max(memory[-tenth:]),
            "with_insights_mib": _memory_mib(),
        }
    print(json.dumps(report) if options.json else report)


def _memory_mib() -> int:
    own = psutil.Process()
    total = 0
    for process in [own, *own.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total >> 20


def make_video(folder: Path, hours: float) -> Path:
    """An MP4 of so many hours, 160 x 96 at 25 frames a second, with a keyframe every two seconds."""
    piece, path = folder / "piece.mp4", folder / "long.mp4"
    with av.open(str(piece), "w") as output:
        stream: Any = output.add_stream("libx264", rate=_FPS, options={"g": "50", "bf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number in range(_PIECE_S * _FPS):
            frame = av.VideoFrame.from_ndarray(np.full((96, 160, 3), number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, _FPS)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    with av.open(str(piece)) as source, av.open(str(path), "w") as output:
        template = source.streams.video[0]
        assert template.time_base
        packets = [packet for packet in source.demux(template) if packet.size]
        copy = output.add_stream_from_template(template)
        for repeat in range(max(1, round(hours * 3600 / _PIECE_S))):
            shift = repeat * round(_PIECE_S / template.time_base)
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.pts, again.dts = (packet.pts or 0) + shift, (packet.dts or 0) + shift
                again.duration, again.time_base = packet.duration, template.time_base
                again.is_keyframe, again.stream = packet.is_keyframe, copy
                output.mux(again)
    return path


if __name__ == "__main__":
    main()
