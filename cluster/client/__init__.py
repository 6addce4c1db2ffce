"""AIMA from Python: analyses over HTTP (`Client`, `AsyncClient`), and models as remote actors (`connect`).

from cluster.client import local_client

with local_client() as aima:
    view = aima.wait(aima.submit("/videos/clip.mp4", ["labels"])["id"], progress=True)
    frame = aima.dataframe(view["id"], "labels")

Read calls.py first (every call as a value), then blocking.py; asynchronous.py is the same for asyncio, remote.py is
the models.
"""

from cluster.client.asynchronous import AsyncClient
from cluster.client.blocking import Client
from cluster.client.errors import ApiError, ClientError, NoCluster, Unreachable
from cluster.client.local import api_access, find_cluster, local_client
from cluster.client.remote import Connection, Model, connect

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "ClientError",
    "Connection",
    "Model",
    "NoCluster",
    "Unreachable",
    "api_access",
    "connect",
    "find_cluster",
    "local_client",
]
