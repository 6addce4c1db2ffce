"""The service as it runs: the API, with the dispatcher and the chores for as long as it lives."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI

from pipelines.media.public_transport import async_client
from serve_apps.api.context import Service
from serve_apps.queue.tickets import TicketOffice
from serve_apps.results.summaries import summarise_some
from serve_apps.search.indexer import index_some
from serve_apps.work.chores import Chore, run_chores
from serve_apps.work.dispatcher import Dispatcher
from serve_apps.work.erasing import erase_expired
from serve_apps.work.metering import meter
from serve_apps.work.webhook_sender import WebhookSender

Lifespan = Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]


def chores(service: Service, sender: WebhookSender) -> dict[str, Chore]:
    """Everything that comes round."""
    engine = service.store.engine

    async def index() -> int:
        return await asyncio.to_thread(index_some, engine, service.objects, service.documents)

    async def count_costs() -> int:
        return await asyncio.to_thread(meter, service.store, service.lifecycle, await service.fleet())

    async def erase() -> int:
        return await asyncio.to_thread(erase_expired, service)

    async def summarise() -> int:
        return await asyncio.to_thread(summarise_some, service)

    return {
        "indexing results": Chore(index, 1.0, quiet_s=5.0),
        "writing insights and manifests": Chore(summarise, 1.0, quiet_s=5.0),
        "counting costs": Chore(count_costs, 5.0, quiet_s=15.0),
        "calling webhooks": Chore(sender.send_some, 1.0, quiet_s=5.0),
        "erasing what is past its time": Chore(erase, 60.0),
    }


def lifespan_of(service: Service, dispatcher: Dispatcher, office: TicketOffice) -> Lifespan:
    """The dispatcher and the chores work from the app's start to its end."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        stop = asyncio.Event()
        async with async_client(trusted=service.policy.allow_private_hosts) as client:
            sender = WebhookSender(service.store.engine, service.store.now, client, service.credentials.open)
            work = [
                asyncio.create_task(dispatcher.run(stop)),
                asyncio.create_task(run_chores(chores(service, sender), stop, service.metrics, dispatcher.is_quiet)),
            ]
            office.start()
            yield
            stop.set()
            office.stop()
            dispatcher.wake()
            await asyncio.gather(*work)
            await asyncio.to_thread(service.traces.close)

    return lifespan
