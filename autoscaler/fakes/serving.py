"""Runs a fake cloud: as a program of its own, or beside a test."""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from autoscaler.fakes.account import Account, Behaviour

KEY = "fake-key"
# What an image brings along: a container sees nothing else of this machine's environment.
_OF_THE_IMAGE = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "VIRTUAL_ENV")
_KEEP_EVERY_S = 0.1
CreateApp = Callable[[Account], ASGIApp]


@contextlib.contextmanager
def running(create_app: CreateApp, account: Account) -> Iterator[str]:
    """Serve an account in a thread of this process on a free port; gives the base URL."""
    try:
        with serving(create_app(account)) as url:
            account.environment |= _addresses(url)
            yield url
    finally:
        account.close()


@contextlib.contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve any application in a thread of this process on a free port; gives the base URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(_config(app))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.005)
            yield _url(listener)
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join()


def serve(name: str, create_app: CreateApp) -> None:
    """The program: serve until SIGTERM, and end every container then."""
    parser = argparse.ArgumentParser(description=f"A {name} of your own: failures on command under /_fake.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--key", default=KEY, help="the account's API key")
    parser.add_argument("--containers", action="store_true", help="run each machine's command as a process here")
    parser.add_argument("--balance-usd", type=float, default=100.0)
    parser.add_argument("--boot-s", type=float, default=10.0, help="from the purchase to the running container")
    parser.add_argument("--log-dir", type=Path, default=None, help="where the containers' output goes")
    options = parser.parse_args()
    behaviour = Behaviour(
        provision_s=options.boot_s / 2,
        start_s=options.boot_s / 2,
        balance_usd=options.balance_usd,
        containers=options.containers,
        rate_limits=True,
    )
    log_dir = options.log_dir or Path(tempfile.mkdtemp(prefix=f"{name}-fake-"))
    # Uvicorn raises the signal again when it has stopped serving: then the containers are still to be ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    account = Account(time.time, options.key, of_the_image(os.environ), log_dir, behaviour)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", options.port))
        listener.listen()  # whoever reads the address may call at once
        account.environment |= _addresses(_url(listener))
        print(f"{name} (fake) at {_url(listener)}", flush=True)
        try:
            asyncio.run(_serve_and_keep(uvicorn.Server(_config(create_app(account))), account, listener))
        finally:
            account.close()


async def _serve_and_keep(server: uvicorn.Server, account: Account, listener: socket.socket) -> None:
    """Containers start, restart and die while nobody calls."""
    serving = asyncio.create_task(server.serve([listener]))
    while not serving.done():
        account.keep()
        await asyncio.wait([serving], timeout=_KEEP_EVERY_S)
    await serving


def of_the_image(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that stand in for those of a container's image."""
    return {name: value for name, value in environment.items() if name in _OF_THE_IMAGE}


def _url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def _addresses(url: str) -> dict[str, str]:
    """Where containers find this cloud's API, which is at the real ones' default address otherwise."""
    return {"RUNPOD_API_BASE_URL": url, "VAST_API_BASE_URL": f"{url}/api"}


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(app, log_level="critical", access_log=False)
