"""The API as a process that is meant to be killed: `python -m tests.support.servers.kill_server DATABASE_URL FOLDER`.

A parent that has imported everything holds the port and forks a server; when that dies, it forks the next. It prints
the port, then the pid of each server.
"""

import os
import socket
import sys
from pathlib import Path
from time import monotonic

import uvicorn

from cluster.storage.database import open_engine
from serve_apps.api.app import create_app
from tests.support.product.service import FakeFleet, build_prober, build_service


def serve(url: str, folder: Path, listener: socket.socket) -> None:
    """Be the server until killed."""
    engine = open_engine(url)
    service = build_service(engine, monotonic, folder, FakeFleet(), lambda _id: None)
    app = create_app(service, build_prober())
    config = uvicorn.Config(app, log_level="critical", lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


def main() -> None:
    """Serve for ever."""
    url, folder = sys.argv[1], Path(sys.argv[2])
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            child = os.fork()
            if child == 0:
                serve(url, folder, listener)
                os._exit(0)
            print(child, flush=True)
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()
