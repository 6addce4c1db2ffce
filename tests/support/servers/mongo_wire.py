"""A stand-in that speaks MongoDB's wire protocol, for machines without a MongoDB: just the commands that we send.

No registry that the tests can reach offers a real server. Where one runs, AIMA_TEST_MONGODB_URL names it, and the
same suite runs on it.
"""

import re
import socketserver
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import bson

_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013
_HELLO = {
    "ismaster": True,
    "isWritablePrimary": True,
    "maxBsonObjectSize": 16 << 20,
    "maxMessageSizeBytes": 48 << 20,
    "maxWriteBatchSize": 100_000,
    "minWireVersion": 0,
    "maxWireVersion": 21,
}


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        self.collections: dict[str, list[dict[str, Any]]] = {}
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Connection)


class _Connection(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        while len(header := self.rfile.read(16)) == 16:
            length, request_id, _to, code = struct.unpack("<iiii", header)
            body = self.rfile.read(length - 16)
            command = _message(body) if code == _OP_MSG else _query(body)
            with self.server.lock:
                answer = bson.encode({**_answer(self.server.collections, command), "ok": 1.0})
            if code == _OP_MSG:
                content, reply_code = struct.pack("<iB", 0, 0) + answer, _OP_MSG
            else:
                content, reply_code = struct.pack("<iqii", 8, 0, 0, 1) + answer, _OP_REPLY
            self.wfile.write(struct.pack("<iiii", 16 + len(content), 0, request_id, reply_code) + content)


def _query(body: bytes) -> dict[str, Any]:
    document = body[body.index(b"\0", 4) + 9 :]
    return dict(bson.decode(document))


def _message(body: bytes) -> dict[str, Any]:
    command: dict[str, Any] = {}
    at = 4
    while at < len(body):
        kind, at = body[at], at + 1
        (size,) = struct.unpack_from("<i", body, at)
        section = body[at : at + size]
        at += size
        if kind == 0:
            command |= bson.decode(section)
        else:
            end = section.index(b"\0", 4)
            command[section[4:end].decode()] = bson.decode_all(section[end + 1 :])
    return command


def _answer(collections: dict[str, list[dict[str, Any]]], command: Mapping[str, Any]) -> dict[str, Any]:
    name, target = next(iter(command.items()))
    documents = collections.setdefault(str(target), [])
    if name.lower() in ("hello", "ismaster"):
        return dict(_HELLO)
    if name == "find":
        found = [d for d in documents if _matches(d, command["filter"])]
        found.sort(key=lambda d: d["_id"], reverse=command["sort"]["_id"] < 0)
        return {"cursor": {"id": bson.Int64(0), "ns": f"aima.{target}", "firstBatch": found[: command["limit"]]}}
    if name == "distinct":
        return {"values": list(dict.fromkeys(d[command["key"]] for d in documents if _matches(d, command["query"])))}
    if name == "update":
        return {"n": sum(_replace(documents, one) for one in command["updates"])}
    if name == "delete":
        for one in command["deletes"]:
            documents[:] = [d for d in documents if not _matches(d, one["q"])]
        return {"n": 0}
    if name in ("createIndexes", "endSessions", "ping"):
        return {}
    raise AssertionError(f"the stand-in does not know {name}")


def _replace(documents: list[dict[str, Any]], change: Mapping[str, Any]) -> int:
    kept = next((d["_id"] for d in documents if _matches(d, change["q"])), bson.ObjectId())
    documents[:] = [d for d in documents if d["_id"] != kept]
    documents.append({"_id": kept, **change["u"]})
    return 1


def _matches(document: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    for name, value in wanted.items():
        if name == "$and":
            if not all(_matches(document, each) for each in value):
                return False
        elif isinstance(value, Mapping):
            if not any(re.search(value["$regex"], item) for item in document[name]):
                return False
        elif document[name] != value:
            return False
    return True


@contextmanager
def mongo_server() -> Iterator[str]:
    """Its URL."""
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"mongodb://127.0.0.1:{server.server_address[1]}/aima"
        server.shutdown()
        thread.join()
