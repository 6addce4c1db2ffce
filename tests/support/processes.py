"""The processes that a test has started."""

import psutil

from cluster.local.processes import lives, words


def children_with(word: str) -> list[psutil.Process]:
    """This process's living children with a word in their command lines, the newest last."""
    found = [c for c in psutil.Process().children() if lives(c) and word in words(c)]
    return sorted(found, key=lambda c: c.create_time())
