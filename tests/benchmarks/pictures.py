"""Small pictures: ours against a hand loop: `python -m tests.benchmarks.pictures [--count N] [--runs N] [--json]`.

Each contestant runs in a process of its own, one after another, `--runs` rounds of all; ratios are within a round.
`hand` is a loop without isolation, records or Ray: two threads decode with Pillow, one labels batches. `bundles` is
what an actor does, its models loaded; `job` the whole batch job on a Ray that runs: it starts its own worker and loads
its own models, so it is compared with the hand loop including that.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import av
import numpy as np
from PIL import Image

from pipelines.media.sample_video import sample_video

GOALS = {"bundles": 0.85}  # of the hand loop's pictures a second
_LABELLED_TOGETHER = 64
_SIDE = 224


def hand(pictures: Sequence[str]) -> dict[str, float]:
    """Two decoding threads, one model thread."""
    from pipelines.analyzers.labels import Labels  # noqa: PLC0415

    started = time.monotonic()
    labels = Labels()
    labels.load("cpu")
    labels.classify(np.zeros((8, _SIDE, _SIDE, 3), np.uint8), top_k=1)
    warm = time.monotonic()
    queue: Queue[Any] = Queue(2 * _LABELLED_TOGETHER)

    def decode(path: str) -> None:
        with Image.open(path) as picture:
            picture.draft("RGB", (_SIDE, _SIDE))
            queue.put(np.asarray(picture.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)))

    def feed() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(decode, pictures))
        queue.put(None)

    threading.Thread(target=feed).start()
    found, waiting = 0, []
    while (pixels := queue.get()) is not None:
        waiting.append(pixels)
        if len(waiting) == _LABELLED_TOGETHER:
            found += len(labels.classify(np.stack(waiting), top_k=1))
            waiting = []
    found += len(labels.classify(np.stack(waiting), top_k=1)) if waiting else 0
    assert found == len(pictures)
    now = time.monotonic()
    return {"cold_s": now - started, "warm_s": now - warm}


def bundles(pictures: Sequence[str]) -> dict[str, float]:
    """Bundles as a batch job's actor does them, two at once, records written."""
    from pipelines.batch.still_images import PICTURES_TOGETHER, PicturesTask, analyse_bundle  # noqa: PLC0415
    from pipelines.segments.segment_analyzer import SegmentAnalyzer  # noqa: PLC0415

    started = time.monotonic()
    models = SegmentAnalyzer(device="cpu")
    with tempfile.TemporaryDirectory() as output, ThreadPoolExecutor(2) as pool:
        tasks = [
            PicturesTask(tuple(pictures[at : at + PICTURES_TOGETHER]), ("labels",), f"{output}/{at}")
            for at in range(0, len(pictures), PICTURES_TOGETHER)
        ]
        first = PicturesTask(tuple(pictures[:16]), ("labels",), f"{output}/warm")
        list(pool.map(lambda task: analyse_bundle(models, task), [first, first]))
        warm = time.monotonic()
        done = list(pool.map(lambda task: analyse_bundle(models, task), tasks))
        now = time.monotonic()
    assert sum(outcome["frames"] for outcome in done) == len(pictures)
    return {"cold_s": now - started, "warm_s": now - warm}


def job(pictures: Sequence[str]) -> dict[str, float]:
    """The batch job on Ray Data."""
    import ray  # noqa: PLC0415

    from pipelines.batch.job import BatchJob  # noqa: PLC0415
    from pipelines.batch.run import run  # noqa: PLC0415

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as output:
        started = time.monotonic()
        result = run(BatchJob(tuple(pictures), output, ("labels",), max_gpus=0, kind="images"))
        seconds = time.monotonic() - started
    assert result.frames == len(pictures)
    return {"cold_s": seconds, "warm_s": seconds}


CONTESTANTS: dict[str, Callable[[Sequence[str]], dict[str, float]]] = {"hand": hand, "bundles": bundles, "job": job}


def main() -> None:
    """Print a table, and with --json the ratios as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        pictures = sorted(str(path) for path in Path(options.folder).iterdir())
        print(json.dumps(CONTESTANTS[options.only](pictures)))
        return
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS}
    with tempfile.TemporaryDirectory(prefix="picture-benchmark-") as folder:
        make_pictures(Path(folder), options.count)
        for round_number in range(options.runs):
            for name, results in runs.items():
                results.append(_run(name, folder))
                figures = {key: round(value, 1) for key, value in results[-1].items()}
                print(f"round {round_number + 1}/{options.runs} {name}: {figures}", flush=True)
    report = summary(runs, options.count)
    for name, row in report.items():
        print(f"{name:10} {row['per_s']:7.0f} pictures/s   {row['share']:5.2f} of the hand loop")
    if options.json:
        print(json.dumps({"share_of_hand_loop": {name: round(row["share"], 3) for name, row in report.items()}}))


def summary(runs: dict[str, list[dict[str, float]]], count: int) -> dict[str, dict[str, float]]:
    """Pictures a second, and the share of the hand loop's of the same round; medians."""
    report = {}
    for name, results in runs.items():
        kind = "cold_s" if name == "job" else "warm_s"
        shares = [hand[kind] / own[kind] for hand, own in zip(runs["hand"], results, strict=True)]
        report[name] = {
            "per_s": count / statistics.median(own[kind] for own in results),
            "share": statistics.median(shares),
        }
    return report


def _run(name: str, folder: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.pictures", "--only", name, "--folder", folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def make_pictures(folder: Path, count: int) -> None:
    """JPEGs of 320 x 240: the sample video's frames, under as many names as are wanted."""
    with av.open(str(sample_video())) as source:
        frames = [frame.reformat(320, 240, "rgb24").to_ndarray() for frame in source.decode(video=0)]
    for number in range(count):
        path = folder / f"{number:05d}.jpg"
        if number < len(frames):
            Image.fromarray(frames[number]).save(path, quality=90)
        else:
            path.hardlink_to(folder / f"{number % len(frames):05d}.jpg")


if __name__ == "__main__":
    main()
