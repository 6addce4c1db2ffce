"""Clouds for tests: the real providers against the fake servers, over HTTP, on a clock that only tests move."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autoscaler.clouds.contract import CloudProvider
from autoscaler.clouds.registry import load_provider
from autoscaler.fakes import runpod as fake_runpod
from autoscaler.fakes import vastai as fake_vastai
from autoscaler.fakes.account import Account, Behaviour
from autoscaler.fakes.control import inflict
from autoscaler.fakes.failures import RUNPOD_FAILURES, VASTAI_FAILURES, Failure
from autoscaler.fakes.serving import KEY, CreateApp, running
from autoscaler.names import launch_name
from autoscaler.types import Instance, LaunchRequest, NodeType
from tests.support.clouds.specs import Conversation, Exchange

T = TypeVar("T")
CLUSTER = "aima-c1"
NODE_TYPE = NodeType("gpu", {"GPU": 1}, max_count=4, clouds=("any",))


@dataclass
class Clock:
    """Unix seconds that only tests move; sleeping on it takes no time."""

    now: float = 1_000_000.0
    slept_s: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now += seconds


@dataclass
class Cloud:
    """A provider, seen without asyncio: one loop for all its calls, as in the orchestrator."""

    provider: CloudProvider
    runner: asyncio.Runner
    cluster_id: str = CLUSTER

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def name(self, number: int = 1) -> str:
        return launch_name(self.cluster_id, "gpu", f"{number:08x}")

    def request(self, name: str, node_type: NodeType = NODE_TYPE, **values: Any) -> LaunchRequest:
        """For the first offer."""
        offer = self.run(self.provider.list_offers(node_type))[0]
        values = {"image": "aima/worker:1", "start_command": ("sleep", "600"), **values}
        return LaunchRequest(name, node_type, offer, {"GREETING": "hello you"}, 3600.0, **values)

    def create(self, name: str, node_type: NodeType = NODE_TYPE) -> Instance:
        return self.run(self.provider.create_instance(self.request(name, node_type)))

    def list(self) -> list[Instance]:
        return list(self.run(self.provider.list_instances()))

    def listed(self, name: str) -> Instance | None:
        return next((i for i in self.list() if i.name == name), None)

    def terminate(self, instance_id: str) -> None:
        self.run(self.provider.terminate_instance(instance_id))


@dataclass
class Rented(Cloud):
    """A provider, and the inside of the fake cloud that it talks to."""

    account: Account = field(kw_only=True)
    clock: Clock = field(kw_only=True)
    url: str = field(kw_only=True)
    failures: Mapping[str, Failure] = field(kw_only=True)
    conversation: Conversation = field(kw_only=True)

    def fail(self, name: str) -> None:
        """One of the failures of autoscaler/fakes/failures.py."""
        inflict(self.account, self.failures[name])

    def calls(self, kind: str) -> int:
        """How many calls of a kind the cloud has had."""
        return self.account.calls.count(kind)


_FAKES: dict[str, tuple[CreateApp, Mapping[str, Failure]]] = {
    "runpod": (fake_runpod.create_app, RUNPOD_FAILURES),
    "vastai": (fake_vastai.create_app, VASTAI_FAILURES),
}
RENTED = tuple(_FAKES)


class Overheard:
    """An ASGI app whose exchanges are written down. Broken and unfinished ones are nobody's words."""

    def __init__(self, app: ASGIApp, conversation: Conversation) -> None:
        self._app, self._conversation = app, conversation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_fake"):
            await self._app(scope, receive, send)
            return
        asked, answered = bytearray(), bytearray()
        head: dict[str, Any] = {"status": 0, "headers": {b"x-fake-fault": b"nothing was answered"}}

        async def hear() -> Message:
            message = await receive()
            asked.extend(message.get("body", b""))
            return message

        async def say(message: Message) -> None:
            if message["type"] == "http.response.start":
                head.update(status=message["status"], headers=dict(message["headers"]))
            answered.extend(message.get("body", b""))
            await send(message)

        await self._app(scope, hear, say)
        headers = head["headers"]
        self._conversation.exchanges.append(
            Exchange(
                scope["method"],
                scope["path"],
                scope["query_string"].decode(),
                bytes(asked),
                head["status"],
                headers.get(b"content-type", b"").decode(),
                bytes(answered),
                injected=b"x-fake-fault" in headers,
            )
        )


@contextlib.contextmanager
def rented(name: str, folder: Path, runner: asyncio.Runner, **behaviour: Any) -> Iterator[Rented]:
    """The provider `name` and its fake server; machines boot at once unless `behaviour` says otherwise."""
    create_app, failures = _FAKES[name]
    clock = Clock()
    account = Account(clock, KEY, {}, folder, Behaviour(**{"provision_s": 0.0, "start_s": 0.0, **behaviour}))
    conversation = Conversation(name)
    with running(lambda account: Overheard(create_app(account), conversation), account) as url:
        own = {"base_url": f"{url}/api", "wall_clock": clock} if name == "vastai" else {"base_url": url}
        provider = load_provider(name, cluster_id=CLUSTER, api_key=KEY, clock=clock, sleep=clock.sleep, **own)
        cloud = Rented(
            provider, runner, account=account, clock=clock, url=url, failures=failures, conversation=conversation
        )
        try:
            yield cloud
        finally:
            cloud.run(provider.close())
