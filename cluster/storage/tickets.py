"""Which way tickets go, by one URL: through the database, or through RabbitMQ, Redis or SQS."""

import contextlib
import select
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, text

from serve_apps.queue.tickets import NoTickets, Tickets

_CHANNEL = "aima_tickets"
_SCHEMES = ("amqp", "amqps", "redis", "rediss", "sqs")
_LOOK_S = 1.0
_KEEP_S = 3600


def open_tickets(url: str, engine: Engine) -> Tickets:
    """The tickets of a `queue_url`; empty: the database's own. Raises ValueError for a URL that means nothing."""
    if not url or url == "database":
        return PostgresTickets(engine) if engine.dialect.name == "postgresql" else NoTickets()
    if url.partition("://")[0] not in _SCHEMES:
        scheme = url.partition(":")[0]
        allowed = ", ".join(f"{name}://" for name in _SCHEMES)
        raise ValueError(f"queue_url: {scheme}:// is no queue that we know; leave it empty, or use one of {allowed}")
    return BrokerTickets(url)


class PostgresTickets:
    """LISTEN and NOTIFY on the service's own database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def send(self, analysis_id: str) -> None:
        """See Tickets."""
        with self._engine.begin() as connection:
            connection.execute(text("SELECT pg_notify(:channel, :id)"), {"channel": _CHANNEL, "id": analysis_id})

    def listen(self, heard: Callable[[str], None], stop: threading.Event) -> None:
        """See Tickets."""
        connection = self._engine.raw_connection()
        driver: Any = connection.driver_connection
        connection.detach()  # it listens until it is closed: nobody else may get it from the pool
        try:
            driver.rollback()
            driver.autocommit = True
            driver.execute(f"LISTEN {_CHANNEL}")
            while not stop.is_set():
                # Psycopg's own wait would wake up ten times a second.
                select.select([driver], [], [], _LOOK_S)
                for notification in driver.notifies(timeout=0):
                    heard(notification.payload)
        finally:
            driver.close()

    def close(self) -> None:
        """See Tickets."""


class BrokerTickets:
    """A queue at a broker, by kombu."""

    def __init__(self, url: str) -> None:
        from kombu import Queue  # noqa: PLC0415 - not needed where the database is the queue

        self._url = url
        self._queue = Queue(_CHANNEL, routing_key=_CHANNEL, durable=True)
        self._sending: Any = None

    def send(self, analysis_id: str) -> None:
        """See Tickets."""
        try:
            if self._sending is None:
                self._sending = self._connect()
            producer = self._sending.Producer(serializer="json")
            producer.publish(
                {"analysis_id": analysis_id}, routing_key=_CHANNEL, declare=[self._queue], expiration=_KEEP_S
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """See Tickets."""
        sending, self._sending = self._sending, None
        if sending is not None:
            with contextlib.suppress(Exception):
                sending.release()

    def listen(self, heard: Callable[[str], None], stop: threading.Event) -> None:
        """See Tickets."""

        def on_message(body: Any, message: Any) -> None:
            message.ack()
            if isinstance(body, dict) and isinstance(name := body.get("analysis_id"), str):
                heard(name)

        with (
            self._connect() as connection,
            connection.Consumer(self._queue, callbacks=[on_message], accept=["json"], prefetch_count=100),
        ):
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=_LOOK_S)

    def _connect(self) -> Any:
        from kombu import Connection  # noqa: PLC0415

        connection = Connection(self._url, connect_timeout=5)
        connection.ensure_connection(max_retries=1)
        return connection
