"""A backup is what could be restored: the manifests' own commands, a real PostgreSQL, an S3 server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer
from sqlalchemy import create_engine, inspect, make_url, text

from autoscaler.records.ledger import Ledger
from autoscaler.types import Intent, IntentState
from cluster.storage.backup import BackupError, Backups, main
from serve_apps.store.tables import metadata
from tests.support.manifests import K8S, containers, pod_templates, render
from tests.support.servers.small_postgres import NoPostgres, SmallPostgres, server_programs, small_postgres

BUCKET_URI = "s3://backups/aima"


@pytest.fixture(scope="module")
def database() -> Iterator[SmallPostgres]:
    try:
        server_programs()
    except NoPostgres as error:
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))
    with small_postgres() as database:
        yield database


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def storage(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Backups:
    """An empty bucket, and the variables with which the commands find it."""
    httpx.post(f"{s3_url}/moto-api/reset", timeout=30).raise_for_status()
    variables = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in (variables | {"AWS_ENDPOINT_URL_S3": s3_url, "AIMA_BACKUP_URI": BUCKET_URI}).items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="backups")
    return Backups(BUCKET_URI, client)


def run_container(folder: Path, container: str, dump: Path, database: SmallPostgres) -> None:
    """The container's own command, on this machine."""
    found = [c for _name, t in pod_templates(render(folder)) for c in containers(t) if c["name"] == container]
    program, *arguments = [word.replace("/dump/aima.dump", str(dump)) for word in found[0]["command"]]
    path = sys.executable if program == "python" else str(server_programs() / program)
    url = make_url(database.url)
    where = {"PGHOST": str(url.host), "PGPORT": str(url.port), "PGUSER": str(url.username), "PGDATABASE": "aima"}
    done = subprocess.run([path, *arguments], env=os.environ | where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_was_backed_up_last_night_is_there_again(
    storage: Backups, database: SmallPostgres, tmp_path: Path
) -> None:
    engine = create_engine(database.url)
    metadata.create_all(engine)
    ledger = Ledger(engine, lambda: 1000.0)
    ledger.create_tables()
    wanted = Intent("aima-gpu-00000001", "gpu", IntentState.WANTED, 1000.0, {"ray-launch-request": "r-1"})
    ledger.write([wanted])
    tables = inspect(engine).get_table_names()
    dump, fetched = tmp_path / "a.dump", tmp_path / "b.dump"
    overlay, restore = K8S / "overlays" / "ionos", K8S / "jobs" / "restore"
    run_container(overlay, "dump", dump, database)
    run_container(overlay, "upload", dump, database)
    assert len(storage.names()) == 1
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
    run_container(restore, "download", fetched, database)
    run_container(restore, "restore", fetched, database)
    again, tables_again = ledger.live(), inspect(engine).get_table_names()
    engine.dispose()
    assert again == [wanted]
    assert sorted(tables_again) == sorted(tables)
    assert len(tables) > 4


def dump_of(tmp_path: Path, day: int) -> Path:
    path = tmp_path / f"{day}.dump"
    path.write_bytes(b"dump of day %d" % day)
    os.utime(path, (86_400 * day, 86_400 * day))
    return path


def test_the_newest_dumps_stay_and_the_newest_is_fetched(storage: Backups, tmp_path: Path) -> None:
    for day in range(5):
        storage.upload(dump_of(tmp_path, day), keep=3)
    assert storage.names() == [f"aima-1970010{day}T000000Z.dump" for day in (3, 4, 5)]
    assert storage.download(tmp_path / "fetched") == "aima-19700105T000000Z.dump"
    assert (tmp_path / "fetched").read_bytes() == b"dump of day 4"
    storage.download(tmp_path / "fetched", "aima-19700103T000000Z.dump")
    assert (tmp_path / "fetched").read_bytes() == b"dump of day 2"


def test_an_empty_dump_is_refused_and_removes_nothing(storage: Backups, tmp_path: Path) -> None:
    storage.upload(dump_of(tmp_path, 1), keep=1)
    empty = tmp_path / "empty"
    empty.touch()
    for path in (empty, tmp_path / "nothing"):
        with pytest.raises(BackupError, match="missing or empty"):
            storage.upload(path, keep=1)
    assert len(storage.names()) == 1


def test_a_dump_that_changed_in_storage_is_not_handed_out(storage: Backups, tmp_path: Path) -> None:
    name = storage.upload(dump_of(tmp_path, 1), keep=1)
    storage._s3.put_object(Bucket="backups", Key=f"aima/{name}", Body=b"damaged", Metadata={"sha256": "0"})
    with pytest.raises(BackupError, match="checksum differs"):
        storage.download(tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


@pytest.mark.usefixtures("storage")
def test_errors_are_one_readable_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="there is no dump"):
        main(["download", str(tmp_path / "x")])
    monkeypatch.setenv("AIMA_BACKUP_URI", "s3://no-such-bucket/x")
    with pytest.raises(SystemExit, match="NoSuchBucket"):
        main(["download", str(tmp_path / "x")])
    monkeypatch.setenv("AIMA_BACKUP_URI", "/tmp/x")
    with pytest.raises(SystemExit, match="expected s3://bucket/prefix"):
        main(["upload", str(tmp_path / "x")])
