"""What is asked of other processes, any of which may end before it has answered."""

import contextlib

import psutil


def words(process: psutil.Process) -> list[str]:
    """Its command line; nothing once it has ended."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def environment(process: psutil.Process) -> dict[str, str]:
    """The variables that it was started with; none once it has ended."""
    with contextlib.suppress(psutil.Error, OSError):
        return process.environ()
    return {}


def lives(process: psutil.Process) -> bool:
    """Whether it has not ended; a zombie has."""
    with contextlib.suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def children_with(word: str) -> list[psutil.Process]:
    """This process's living children with a word in their command lines, the newest last."""
    found = [c for c in psutil.Process().children() if lives(c) and word in words(c)]
    return sorted(found, key=lambda c: c.create_time())
