"""One line that changes while an analysis runs."""

from collections.abc import Mapping
from typing import Any, Self

from rich.console import Console
from rich.live import Live

from cluster.client import rendering


class ProgressLine:
    """On a terminal a bar; elsewhere a line whenever there is something new to say. `quiet` shows nothing."""

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        self._console = console or Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=8, transient=False)
        self._quiet, self._last = quiet, ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._live.is_started:
            self._live.stop()

    def show(self, view: Mapping[str, Any]) -> None:
        """Show a view of the analysis."""
        if self._quiet:
            return
        if self._console.is_terminal:
            if not self._live.is_started:
                self._live.start()
            self._live.update(rendering.progress_line(view))
            return
        line = rendering.one_line(view)
        if rendering.without_numbers(line) != rendering.without_numbers(self._last):
            self._console.print(f"  {line}", highlight=False)
            self._last = line
