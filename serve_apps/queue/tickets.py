"""Tickets: hints that there is work, so that a dispatcher need not wait for its next look at the database.

The database is the truth. A ticket that is lost, doubled or late costs a second or nothing; it never loses or doubles
an analysis.
"""

import logging
import queue
import threading
from collections.abc import Callable
from typing import Protocol

_log = logging.getLogger(__name__)
_WAITING = 1000
_RETRY_S = 1.0


class Tickets(Protocol):
    """A way for hints from whoever stores requests to whoever dispatches them. Both calls may raise anything."""

    def send(self, analysis_id: str) -> None:
        """Say that there is work."""
        ...

    def listen(self, heard: Callable[[str], None], stop: threading.Event) -> None:
        """Call `heard` for each ticket until `stop`; it may be called for old ones, and twice."""
        ...

    def close(self) -> None:
        """Let go of what `send` holds, in the thread that sends."""
        ...


class NoTickets:
    """For a database that one process uses: it wakes its own dispatcher."""

    def send(self, analysis_id: str) -> None:
        """Nobody else is to be told."""

    def listen(self, heard: Callable[[str], None], stop: threading.Event) -> None:
        """Nothing will be heard."""
        stop.wait()

    def close(self) -> None:
        """Nothing is held."""


class TicketOffice:
    """Sends and hears in threads of its own: a broker that is slow or away holds up nobody."""

    def __init__(self, tickets: Tickets, heard: Callable[[str], None]) -> None:
        self._tickets, self._heard = tickets, heard
        self._waiting: queue.Queue[str | None] = queue.Queue(_WAITING)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, name="tickets-out", daemon=True),
            threading.Thread(target=self._listen, name="tickets-in", daemon=True),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End; what has not been sent is not missed."""
        self._stop.set()
        self._offer(None)
        for thread in self._threads:
            thread.join(timeout_s)

    def send(self, analysis_id: str) -> None:
        """Send a ticket some time soon. Returns at once; when very many wait, drops it."""
        self._offer(analysis_id)

    def _offer(self, item: str | None) -> None:
        try:
            self._waiting.put_nowait(item)
        except queue.Full:
            _log.warning("more than %d tickets wait for the broker: dropping one", _WAITING)

    def _send(self) -> None:
        while not self._stop.is_set() and (analysis_id := self._waiting.get()) is not None:
            try:
                self._tickets.send(analysis_id)
            except Exception as error:  # a hint less; the database knows
                _log.warning("a ticket could not be sent: %s", type(error).__name__)
        self._tickets.close()

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                self._tickets.listen(self._heard, self._stop)
            except Exception as error:  # the broker may be away for a while; the dispatcher looks by itself
                _log.warning("tickets cannot be heard: %s; trying again", type(error).__name__)
                self._stop.wait(_RETRY_S)
