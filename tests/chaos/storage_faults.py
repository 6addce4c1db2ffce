"""What goes wrong with the storage: a directory that is gone or full, an S3 that errs, is silent, or breaks off."""

import contextlib
import os
import random
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.chaos.faults import Kind
from tests.chaos.schedule import Habit
from tests.chaos.stage import Stage
from tests.support.servers.guarded_s3 import App, Way, refuse, straight

_ERRORS = (("500 Internal Server Error", "InternalError"), ("503 Slow Down", "SlowDown"))
_MIB = 1024**2


@contextlib.contextmanager
def storage_gone(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """Where results lie there is a file in the directory's place: every read and write fails."""
    folder = stage.storage / "analyses"
    away = folder.with_name("analyses.away")
    if not folder.is_dir():
        yield ""
        return
    folder.rename(away)
    folder.touch()
    try:
        yield "the storage is gone"
    finally:
        folder.unlink()
        away.rename(folder)


@contextlib.contextmanager
def disk_full(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """The storage's file system has no byte left."""
    filler = stage.storage / "filler"
    try:
        _fill(filler)
        yield "the storage's disk is full"
    finally:
        filler.unlink(missing_ok=True)


def _fill(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    size = _MIB
    try:
        while size:
            try:
                os.write(descriptor, bytes(size))
            except OSError:
                size //= 2
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def s3_errs(stage: Stage, chance: random.Random) -> Iterator[str]:
    """S3 answers 500 or 503, to every request or to every second one."""
    share, (status, code) = chance.choice((0.5, 1.0)), chance.choice(_ERRORS)

    def err(app: App, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        return refuse(start, status, code) if chance.random() < share else app(environ, start)

    with _by(stage, err):
        yield f"S3 answers {status} to {share:.0%} of its requests"


@contextlib.contextmanager
def s3_silent(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """S3 takes requests and answers none for a while."""
    mended = threading.Event()

    def wait(app: App, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        mended.wait()
        return app(environ, start)

    try:
        with _by(stage, wait):
            yield "S3 answers nobody"
    finally:
        mended.set()


@contextlib.contextmanager
def s3_breaks_off(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """S3's answers end half-way, and so do their connections."""

    def halve(app: App, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        whole = b"".join(app(environ, start))
        return [whole[: len(whole) // 2]]

    with _by(stage, halve):
        yield "S3's answers break off"


@contextlib.contextmanager
def _by(stage: Stage, way: Way) -> Iterator[None]:
    """Every request comes by this way until the block ends, or another fault has taken its place."""
    assert stage.bucket
    guard = stage.bucket.guard
    guard.way = way
    try:
        yield
    finally:
        if guard.way is way:
            guard.way = straight


def _only_directory(stage: Stage) -> str:
    return "the storage is S3" if stage.bucket else ""


def _only_own_disk(stage: Stage) -> str:
    return _only_directory(stage) or ("" if stage.storage_is_its_own else "only root may mount a disk to be filled")


def _only_s3(stage: Stage) -> str:
    return "" if stage.bucket else "the storage is a directory (try --storage s3)"


KINDS = {
    "storage gone": Kind(storage_gone, Habit((2.0, 8.0), rest_s=20), _only_directory),
    "disk full": Kind(disk_full, Habit((2.0, 8.0), rest_s=20), _only_own_disk),
    "S3 errs": Kind(s3_errs, Habit((2.0, 10.0), rest_s=10), _only_s3),
    "S3 silent": Kind(s3_silent, Habit((2.0, 10.0), rest_s=10), _only_s3),
    "S3 breaks off": Kind(s3_breaks_off, Habit((2.0, 10.0), rest_s=10), _only_s3),
}
