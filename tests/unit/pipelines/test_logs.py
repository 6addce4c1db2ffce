"""Logs: what each line says, what it is about, and what it never holds."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import logs
from pipelines.redaction import HIDDEN, secrets_of, without_secrets

log = logging.getLogger("test.of.logs")
HEX = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The root logger as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in [h for h in root.handlers if h not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_says_when_who_what_and_what_it_is_about(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    logs.configure("api", "json", path=path)
    with logs.about(analysis="an_1"):
        with logs.about(segment="0/3 gpu"):
            log.info("done in %.1f s", 2.5, extra={"instance": "i-1"})
        log.debug("not asked for")
    log.warning("two\nlines and “quotes”")
    first, second = lines(path)
    assert first.pop("time").endswith("+00:00")
    assert first.pop("pid") > 0
    assert first == {
        "level": "info",
        "process": "api",
        "logger": "test.of.logs",
        "message": "done in 2.5 s",
        "analysis": "an_1",
        "segment": "0/3 gpu",
        "instance": "i-1",
    }
    assert second["message"] == "two\nlines and “quotes”"
    assert "analysis" not in second


def test_what_is_about_reaches_tasks_and_threads_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    logs.configure("api", "json", path=path)

    async def work(analysis: str) -> None:
        with logs.about(analysis=analysis):
            await asyncio.sleep(0)
            await asyncio.to_thread(log.info, "of %s", analysis)

    async def both() -> None:
        await asyncio.gather(*(work(f"an_{n}") for n in range(20)))

    asyncio.run(both())
    found = lines(path)
    assert len(found) == 20
    assert all(line["message"] == f"of {line['analysis']}" for line in found)


def test_configured_again_nothing_is_written_twice(tmp_path: Path) -> None:
    for _time in range(3):
        logs.configure("api", "json", path=tmp_path / "api.log")
    log.info("once")
    assert len(lines(tmp_path / "api.log")) == 1


def test_text_that_a_stranger_chose_forges_no_line_and_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("orchestrator", "text")
    log.warning("it asks for %s", "a\n2026-11-30 error forged: b\x1b[2J\u202e", extra={"instance": "c\nd"})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert "a\\n2026-11-30 error forged: b\\x1b[2J\\u202e" in line


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("orchestrator", "text", "warning")
    log.info("not from this level on")
    with logs.about(analysis="an_1"):
        log.warning("it does not answer", extra={"cloud": "runpod"})
    said = capsys.readouterr().err
    assert "warning orchestrator test.of.logs: it does not answer  [analysis=an_1 cloud=runpod]" in said
    assert said.count("\n") == 1


def test_a_log_that_cannot_be_opened_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("api", path=tmp_path / "missing" / "api.log")
    log.info("all the same")
    assert "all the same" in capsys.readouterr().err


def test_tracebacks_are_kept_and_clean(tmp_path: Path) -> None:
    logs.configure("api", "json", path=tmp_path / "api.log", known_secrets=["hunter2hunter2"])
    try:
        raise ValueError("the key hunter2hunter2 was refused at https://u:pa55word@host/x?sig=abcdefgh")
    except ValueError:
        log.exception("it failed")
    (line,) = lines(tmp_path / "api.log")
    assert "Traceback" in line["error"]
    assert "hunter2" not in json.dumps(line)
    assert "pa55word" not in json.dumps(line)
    assert "abcdefgh" not in json.dumps(line)


SECRETS = {
    "Authorization: Bearer {}": "abcDEF123456._~+/-",
    "{{'authorization': 'Bearer {}'}}": "abcDEF123456",
    "postgresql+psycopg://aima:{}@postgres:5432/aima": "s3cr3t%21x",
    "amqp://user:{}@rabbit//": "longpassword",
    "GET https://b.s3.eu.example/k.mp4?X-Amz-Algorithm=AWS4&X-Amz-Signature={}&x=1": "deadbeefcafe",
    "https://b.example/k?X-Amz-Credential=AKIA%2F20261126&X-Amz-Security-Token={}": "IQoJb3JpZ2luX2VjE",
    "https://b.example/k?sv=1&sig={}&se=2": "Zm9vYmFyYmF6",
    "AWS_SECRET_ACCESS_KEY={}": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    "RUNPOD_API_KEY={} was refused": "q7w8e9r0t1y2",
    '{{"join_token": "{}", "name": "x"}}': "dGhpcyBpcyBhIHRva2Vu",
    "env AIMA_JOIN_TOKEN='{}'": "dGhpcyBpcyBhIHRva2Vu",
    "password: {}": "correcthorse",
    "the key {} may not": "rpa_ABCDEFGHIJKLMNOP1234",
    "with {} it fails": "aima_ak_0123456789abcdef_" + HEX,
    "credentials {} are wrong": "AKIAIOSFODNN7EXAMPLE",
    "token of the fleet {}": HEX,
    "jwt {}": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "key:\n-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----": "b3BlbnNzaC1rZXktdjEAAAAA",
}


@pytest.mark.parametrize("sentence", SECRETS, ids=range(len(SECRETS)))
def test_no_secret_is_written(sentence: str) -> None:
    secret = SECRETS[sentence]
    said = sentence.format(secret)
    assert secret in said
    cleaned = without_secrets(said)
    assert secret not in cleaned
    assert HIDDEN in cleaned


@pytest.mark.parametrize(
    "harmless",
    [
        "an_0123456789abcdef: 3 of 7 segments, about 12 s left",
        "image registry.example.com/aima/worker@sha256:" + HEX,
        "the key is wrong or revoked; 401 at GET https://api.runpod.io/v2/pods?limit=1000",
        "c1-gpu-0a1b2c3d: bought from runpod at 0.74 USD/h",
        "sqlite:////home/u/.aima/aima.db cannot be opened",
        "labels: fps = 2.0; monkeys: 3; keys: 12",
        "127.77.0.1:10009 refused; dialling again for up to 600 s",
    ],
)
def test_what_is_no_secret_stays(harmless: str) -> None:
    assert without_secrets(harmless) == harmless


@pytest.mark.parametrize(
    "unit", ["a", "token", "key=", "Bearer ", "://a:", "eyJabcdefgh.", "-----BEGIN PRIVATE KEY-----"]
)
def test_long_lines_take_no_long_time(unit: str) -> None:
    line = unit * (200_000 // len(unit))
    started = time.process_time()
    without_secrets(line)
    assert time.process_time() - started < 2


def test_secrets_of_the_environment_are_known_by_their_names() -> None:
    environment = {
        "RUNPOD_API_KEY": "abcdefgh1234",
        "AWS_SECRET_ACCESS_KEY": "x" * 40,
        "RAY_AUTH_TOKEN_PATH": "/var/lib/aima/tokens/ray",
        "SHORT_KEY": "abc",
        "HOME": "/home/someone-with-a-long-name",
    }
    assert secrets_of(environment) == ["x" * 40, "abcdefgh1234"]
    assert without_secrets("refused abcdefgh1234", secrets_of(environment)) == f"refused {HIDDEN}"
