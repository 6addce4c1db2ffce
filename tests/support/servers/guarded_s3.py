"""An S3 server on this machine that looks at signatures, which moto's own does not: a guard in front of moto's app."""

import datetime
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest

from tests.support.servers.http_server import running

KEY_ID, SECRET, REGION = "AKIDTEST", "a secret that stays on the head", "eu-central-1"
_Start = Callable[..., Any]
App = Callable[[dict[str, Any], _Start], Iterable[bytes]]
Way = Callable[[App, dict[str, Any], _Start], Iterable[bytes]]


def straight(app: App, environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
    """Nothing goes wrong."""
    return app(environ, start)


class Guard:
    """Lets in who signs a request with the secret, or brings a presigned URL that is valid for just this request."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.way: Way = straight  # how a request comes in, and its answer out
        self.late_s = 0.0  # how far this server's clock is ahead
        self.unavailable = 0  # so many requests are turned away first
        self.presigned: list[str] = []  # method and key of each presigned request that was let in

    def __call__(self, environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
        return self.way(self._checked, environ, start)

    def _checked(self, environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
        query = dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        if "X-Amz-Signature" in query:
            if self.unavailable:
                self.unavailable -= 1
                return refuse(start, "503 Slow Down", "SlowDown")
            if why := self._fault(environ, query):
                return refuse(start, "403 Forbidden", why)
            self.presigned.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        elif f"Credential={KEY_ID}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return refuse(start, "403 Forbidden", "AccessDenied")
        return self._app(environ, start)

    def _fault(self, environ: dict[str, Any], query: dict[str, str]) -> str:
        signed_at = datetime.datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
        if time.time() + self.late_s - signed_at.timestamp() > float(query["X-Amz-Expires"]):
            return "AccessDenied"
        is_ours = hmac.compare_digest(_signature(environ, query), query["X-Amz-Signature"])
        return "" if is_ours else "SignatureDoesNotMatch"


def _signature(environ: dict[str, Any], query: dict[str, str]) -> str:
    """AWS Signature Version 4 of a request by its query string; the payload is not signed."""
    asked = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in query.items() if k != "X-Amz-Signature")
    names = query["X-Amz-SignedHeaders"].split(";")
    plain = {"host": environ["HTTP_HOST"], "content-type": environ.get("CONTENT_TYPE", "")}
    headers = "".join(f"{n}:{plain.get(n, environ.get('HTTP_' + n.upper().replace('-', '_'), ''))}\n" for n in names)
    path = quote(environ["PATH_INFO"], safe="/-_.~")
    query_text, signed = "&".join(f"{k}={v}" for k, v in asked), ";".join(names)
    canonical = "\n".join((environ["REQUEST_METHOD"], path, query_text, headers, signed, "UNSIGNED-PAYLOAD"))
    _key_id, day, region, service, kind = query["X-Amz-Credential"].split("/")
    scope = f"{day}/{region}/{service}/{kind}"
    text = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{SECRET}".encode()
    for step in (day, region, service, kind):
        key = hmac.digest(key, step.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def refuse(start: _Start, status: str, code: str) -> Iterable[bytes]:
    """An error as S3 gives it."""
    body = f"<Error><Code>{code}</Code></Error>".encode()
    start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


@contextmanager
def guarded_s3(patch: pytest.MonkeyPatch) -> Iterator[tuple[str, Guard, Any, str]]:
    """The server's address, its guard, a client of ours and a bucket. This process has the credentials."""
    import boto3  # noqa: PLC0415
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415
    from werkzeug.serving import make_server  # noqa: PLC0415

    for name, value in (("ACCESS_KEY_ID", KEY_ID), ("SECRET_ACCESS_KEY", SECRET), ("DEFAULT_REGION", REGION)):
        patch.setenv(f"AWS_{name}", value)
    patch.setattr(boto3, "DEFAULT_SESSION", None)  # one of an earlier test keeps the credentials of then
    guard = Guard(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, guard, threaded=True)
    url = f"http://127.0.0.1:{server.server_port}"
    with running(server), closing(boto3.client("s3", endpoint_url=url)) as client:
        bucket = f"aima-{secrets.token_hex(4)}"  # moto's servers of one process share their buckets
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield url, guard, client, bucket
