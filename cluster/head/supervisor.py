"""The head's first process for as long as it lives: waits for Ray's processes, and ends what is left when one ends.

It needs nothing but the standard library, so that `cluster.head.start`, once everything runs, can become this
program and let go of all that it has imported. It sleeps in one system call: it costs no CPU and 5 MiB.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

_PR_SET_CHILD_SUBREAPER = 36
_GRACE_S = 5.0
_POLL_S = 0.05
GCS = "gcs_server"


def adopt_orphans() -> None:
    """From here on descendants whose parent ends become children of this process, also after an exec."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        error = ctypes.get_errno()
        raise OSError(error, f"this process cannot adopt orphans: {os.strerror(error)}")


def become() -> NoReturn:
    """Replace this program by `keep`, in the same process with the same children. A SIGTERM meanwhile waits for it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    # The last word is for whoever looks for the head among processes.
    os.execv(sys.executable, [sys.executable, "-I", "-S", __file__, "cluster.head.start"])  # noqa: S606 - a fixed program


def children() -> dict[int, str]:
    """This process's children by pid, with their programs' names; also those that have ended unwaited for."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, tail = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")
            if int(tail.split()[1]) == os.getpid():
                found[int(stat.parent.name)] = head.partition("(")[2]
    return found


def end_children(grace_s: float = _GRACE_S) -> None:
    """SIGTERM to all, SIGKILL to whatever is left after the grace; returns when none is left.

    Ray's GCS is killed, first. Told to end together with the raylet, it may write down that the node has left and no
    more that its actors are to be started elsewhere: then they live nowhere, and Serve never comes back.
    """
    deadline, told = time.monotonic() + grace_s, set[int]()
    while alive := children():
        late = time.monotonic() > deadline
        for pid in sorted(alive, key=lambda pid: alive[pid] != GCS):
            if late or pid not in told:  # what ends may leave children of its own to us
                _send(pid, signal.SIGKILL if late or alive[pid] == GCS else signal.SIGTERM)
        told |= alive.keys()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(_POLL_S)


def one_has_failed() -> bool:
    """Whether a child has ended, and not well; `keep` will see it, too."""
    with contextlib.suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_status:
                return True
            os.waitpid(ended.si_pid, 0)
    return False


def keep() -> int:
    """Wait until one of the present children fails, then end all others; returns 0 after a SIGTERM to itself, else 1.

    As for `ray start --block`, what ends well was only passing through: Ray's own processes do that when they are told.
    """
    kept, told = children(), False

    def end(_signal: int, _frame: object) -> None:
        nonlocal told
        told = True
        end_children()

    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    ended, status = 0, 0
    with contextlib.suppress(ChildProcessError):  # none is left
        while ended not in kept or (status == 0 and not told):
            ended, status = os.waitpid(-1, 0)
    if not told:
        how = os.waitstatus_to_exitcode(status)
        print(f"{kept.get(ended, 'Ray')} has ended with {how}: ending the head", file=sys.stderr, flush=True)
    end_children()
    return 0 if told else 1


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    sys.exit(keep())
