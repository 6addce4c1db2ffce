"""The way from workers of this machine to their hub, with somebody in between who can let nothing through."""

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 256 * 1024


class Link:
    """Stands at the hub's Unix socket. A cut is silent, as in a network: what was sent arrives when it is mended."""

    def __init__(self, path: Path) -> None:
        self._path, self._hub = path, path.with_suffix(".behind")
        path.rename(self._hub)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._own = path.stat().st_ino
        self._open: dict[int, threading.Event] = {}
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self, pid: int) -> None:
        """Let nothing through between this process and the hub, new connections of its included."""
        self._passage(pid).clear()

    def mend(self, pid: int) -> None:
        """Undo `cut`."""
        self._passage(pid).set()

    def close(self) -> None:
        """Step aside; workers dial again, the hub itself this time."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        if self._path.exists() and self._path.stat().st_ino == self._own:
            self._hub.replace(self._path)
        self._hub.unlink(missing_ok=True)  # a hub that was started anew listens at a socket of its own
        for each in self._sockets:
            end(each)
        for passage in self._open.values():
            passage.set()
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()

    def _passage(self, pid: int) -> threading.Event:
        if pid not in self._open:
            self._open[pid] = threading.Event()
            self._open[pid].set()
        return self._open[pid]

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            pid, _uid, _gid = struct.unpack("3i", near.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(str(self._hub))
            except OSError:  # the hub is dead
                near.close()
                far.close()
                continue
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                self._threads.append(threading.Thread(target=carry, args=(source, sink, self._passage(pid))))
                self._threads[-1].start()


def carry(source: socket.socket, sink: socket.socket, passage: threading.Event) -> None:
    """Everything from one to the other, as long as `passage` is set, until one of them ends; then both."""
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            passage.wait()
            sink.sendall(data)
    passage.wait()  # nobody hears of the other's end through a link that is cut
    end(source)
    end(sink)


def end(each: socket.socket) -> None:
    """Whoever reads or writes it is told at once, here and there."""
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def between(path: Path) -> Iterator[Link]:
    """Somebody at the hub's socket, until the block ends."""
    assert os.path.exists(path), f"no hub listens at {path}"
    link = Link(path)
    try:
        yield link
    finally:
        link.close()
