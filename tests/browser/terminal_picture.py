"""Draws a terminal's text as SVG: `aima demo 2>&1 | python -m tests.browser.terminal_picture "aima demo" FILE.svg`."""

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

_WIDTH = 100
# Paths of the machine that ran it say nothing to a reader.
_FOLDERS = re.compile(r"(?<![\w.])/[\w./-]+/(?=[\w-]+\.mp4|labels/|scenes/|an_[0-9a-f]{16})")


def draw(command: str, said: str) -> str:
    """An SVG of a terminal in which `command` has printed `said`."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
    for line in said.splitlines():
        console.print(Text(_FOLDERS.sub("…/", line), style=_style(line)))
    return console.export_svg(title="AIMA")


def _style(line: str) -> str:
    if line.startswith("·"):
        return "dim"
    return "cyan" if line.lstrip().startswith(("waiting", "running", "succeeded")) else ""


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(draw(sys.argv[1], sys.stdin.read()), encoding="utf-8")
