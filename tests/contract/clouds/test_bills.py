"""The clouds' own bills against the ledger: the real readers on fake clouds, on each database."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from autoscaler.billing.comparison import Bounds
from autoscaler.billing.reconciliation import Reconciliation
from autoscaler.billing.records import BillRecords
from autoscaler.errors import CloudError
from autoscaler.fakes.faults import Answer, Fault
from autoscaler.fakes.serving import KEY
from autoscaler.names import is_launch_of
from autoscaler.records.ledger import Ledger
from autoscaler.types import Instance, Intent, IntentState
from cluster.cli.main import app
from cluster.storage.database import open_engine
from tests.support.clouds.providers import CLUSTER, RENTED, Rented, rented

DAY_S = 86_400.0


class Books:
    """A cloud and a ledger that has written down, to the second, what was bought there."""

    def __init__(self, cloud: Rented, engine: Engine) -> None:
        self.cloud, self.engine = cloud, engine
        self.cloud.clock.now = 1_750_000_000.0
        self.ledger, self.records = Ledger(engine, cloud.clock), BillRecords(engine)
        self.ledger.create_tables()
        self.records.create_tables()
        self.restart()

    def restart(self) -> None:
        clouds = {self.cloud.provider.name: self.cloud.provider, "local": object()}
        ours, bounds = (lambda name: is_launch_of(CLUSTER, name)), Bounds(warn_usd=0.1, warn_share=0.05)
        self.bills = Reconciliation(self.ledger, self.records, clouds, ours, self.cloud.clock, bounds)

    def use(self, number: int, hours: float) -> Instance:
        """A machine that works for so long, written into the ledger."""
        cloud, name = self.cloud, self.cloud.name(number)
        created = cloud.create(name)
        bought_at = cloud.clock.now
        cloud.clock.now += hours * 3600
        cloud.terminate(created.instance_id)
        intent = Intent(
            name,
            "gpu",
            IntentState.ENDED,
            bought_at,
            cloud=created.cloud,
            instance_id=created.instance_id,
            price_usd_per_hour=created.price_usd_per_hour,
            bought_at=bought_at,
            ended_at=cloud.clock.now,
        )
        self.ledger.write([intent])
        return created

    def check(self) -> dict[str, Any]:
        (found,) = self.cloud.run(self.bills.check())
        return found

    def verdicts(self) -> dict[str, str]:
        """By name; what agrees or is pending is not shown."""
        return {machine["name"]: machine["verdict"] for machine in self.check()["machines"]}


@pytest.fixture(params=RENTED)
def books(request: pytest.FixtureRequest, tmp_path: Path, engine: Engine) -> Iterator[Books]:
    with asyncio.Runner() as runner, rented(request.param, tmp_path, runner) as cloud:
        yield Books(cloud, engine)


def test_a_bill_that_agrees_is_kept_and_no_cause_for_a_word(books: Books) -> None:
    for number, hours in ((1, 2.0), (2, 30.0), (3, 0.01)):
        books.use(number, hours)
    books.cloud.clock.now += 3 * DAY_S
    found = books.check()
    assert found["billed_usd"] == pytest.approx(found["ledger_usd"], abs=0.01)
    assert found["ledger_usd"] > 5
    assert (found["exceeds"], found["machines"], found["error"], found["skipped_rows"]) == (False, [], "", 0)
    assert books.bills.warnings() == []
    assert books.cloud.conversation.violations() == []
    assert [row.verdict for row in rows(books)] == ["agrees"] * 3


def rows(books: Books) -> list[Any]:
    with books.engine.connect() as connection:
        return list(connection.execute(text("SELECT * FROM billed_machines ORDER BY name")))


def test_f53_what_is_billed_too_high_is_told_at_once_and_by_machine(books: Books) -> None:
    created = books.use(1, 2.0)
    books.cloud.fail("F53")
    assert books.verdicts() == {created.name: "billed higher than the ledger"}
    (warning,) = books.bills.warnings()
    assert f"{books.cloud.provider.name} has billed" in warning
    books.cloud.account.behave({"bill_factor": 1.0})
    assert books.verdicts() == {}
    assert books.bills.warnings() == []


def test_f53_what_is_not_billed_is_pending_until_bills_have_settled(books: Books) -> None:
    created = books.use(1, 2.0)
    books.cloud.fail("F53-late")
    assert books.verdicts() == {}
    books.cloud.clock.now += 1.5 * DAY_S
    assert books.verdicts() == {}
    assert rows(books)[0].verdict == "agrees"
    books.cloud.account.behave({"unbilled": (created.name,)})
    assert books.verdicts() == {}
    assert rows(books)[0].verdict == "not billed in full yet"
    books.cloud.clock.now += DAY_S
    assert books.verdicts() == {created.name: "billed lower than the ledger"}


def test_f53_mistakes_in_both_directions_do_not_make_up_for_each_other(books: Books) -> None:
    first, second = books.use(1, 2.0), books.use(2, 2.0)
    books.cloud.account.behave({"bill_factor": 2.0, "unbilled": (first.name,)})
    books.cloud.clock.now += 3 * DAY_S
    found = books.check()
    assert {machine["name"] for machine in found["machines"]} == {first.name, second.name}
    assert found["difference_usd"] == pytest.approx(2 * 2 * first.price_usd_per_hour, abs=0.01)
    assert found["exceeds"]


def test_f53_odd_rows_are_counted_and_spoil_no_other(books: Books) -> None:
    books.use(1, 2.0)
    books.cloud.fail("F53-odd")
    found = books.check()
    assert found["skipped_rows"] == {"runpod": 6, "vastai": 5}[books.cloud.provider.name]
    assert (found["skipped_example"], found["error"]) == ("None", "")
    assert found["billed_usd"] == pytest.approx(found["ledger_usd"], abs=0.01)


def test_f53_a_bill_that_cannot_be_had_leaves_what_the_last_one_said(books: Books) -> None:
    books.use(1, 2.0)
    before = books.check()
    for failure in ("F53-empty", "F53-500"):
        books.cloud.fail(failure)
        found = books.check()
        assert found["error"]
        assert {**found, "error": "", "asked_at": 0} == {**before, "error": "", "asked_at": 0}
    books.restart()
    books.cloud.account.faults.clear()
    assert books.check()["error"] == ""


def test_machines_of_others_on_the_account_are_no_difference(books: Books) -> None:
    books.use(1, 2.0)
    books.cloud.create("somebody-elses-machine" if books.cloud.provider.name == "runpod" else "")
    books.cloud.clock.now += 3600
    found = books.check()
    assert found["others_usd"] > 0.1
    assert not found["exceeds"]


def test_a_machine_of_ours_that_the_ledger_does_not_know_is_told_where_bills_have_names(
    tmp_path: Path, engine: Engine
) -> None:
    with asyncio.Runner() as runner, rented("vastai", tmp_path, runner) as cloud:
        books = Books(cloud, engine)
        leaked = cloud.create(cloud.name(9))
        cloud.clock.now += 3600
        assert books.verdicts() == {leaked.name: "billed, and unknown to the ledger"}
        assert books.bills.warnings()


def test_all_pages_of_a_bill_are_read_and_a_missing_one_makes_it_unknown(tmp_path: Path, engine: Engine) -> None:
    with asyncio.Runner() as runner, rented("vastai", tmp_path, runner, page_size=2) as cloud:
        books = Books(cloud, engine)
        for number in range(5):
            books.use(number, 1.0)
        assert books.check()["billed_usd"] == pytest.approx(5 * 0.17, rel=0.5)
        assert cloud.calls("bill") == 3
        for body in (
            '{"success":true,"results":[],"total":7,"next_token":null}',
            '{"success":true,"results":[],"next_token":"1"}',
            '{"success":false,"results":[]}',
            '{"success":true,"results":{}}',
        ):
            cloud.account.faults.add(Fault(on="bill", times=9, answer=Answer(status=200, body=body)))
            with pytest.raises(CloudError):
                cloud.run(cloud.provider.read_bill(0.0, cloud.clock.now))  # type: ignore[attr-defined]
            cloud.account.faults.clear()


def test_a_day_is_asked_for_once_and_a_failure_again_after_an_hour(books: Books) -> None:
    books.cloud.fail("F53-empty")
    asked = []
    for hours in (0, 0.5, 1.5, 12, 26):
        books.cloud.clock.now = 1_750_000_000.0 + hours * 3600
        asked.append(books.bills.due())
        for name in asked[-1]:
            books.cloud.run(books.bills.check_one(name))
    name = books.cloud.provider.name
    assert asked == [[name], [name], [], [], [name]]


def test_a_database_that_cannot_be_written_stops_no_check(books: Books) -> None:
    with books.engine.begin() as connection:
        connection.execute(text("DROP TABLE billed_machines"))
        connection.execute(text("CREATE VIEW billed_machines AS SELECT 1 AS odd"))
    assert books.cloud.run(books.bills.check()) == []


def test_tables_of_an_older_aima_get_what_is_missing(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE bill_reconciliations (cloud VARCHAR(64) PRIMARY KEY)"))
    BillRecords(engine).create_tables()
    assert BillRecords(engine).view() == []


def test_the_command_asks_the_clouds_itself_where_no_orchestrator_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any settings of clouds: the ledger that was left here tells where something was bought."""
    state, engine = tmp_path / "state", open_engine(f"sqlite:///{tmp_path / 'state' / 'ledger.db'}")
    with asyncio.Runner() as runner, rented("runpod", tmp_path, runner) as cloud:
        books = Books(cloud, engine)
        created = books.use(1, 2.0)
        cloud.fail("F53")
        monkeypatch.setenv("RUNPOD_API_KEY", KEY)
        monkeypatch.setenv("RUNPOD_API_BASE_URL", f"{cloud.url}/v2/")
        monkeypatch.setenv("AIMA_BUDGETS__BILL_WARN_USD", "0.1")
        monkeypatch.delenv("VAST_API_KEY", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("AIMA_STATE_DIR", str(state))
        monkeypatch.setattr("time.time", cloud.clock)
        shown = CliRunner().invoke(app, ["costs", "--reconcile"])
        assert shown.exit_code == 1
        assert f"{created.name} ({created.instance_id}): billed higher than the ledger" in shown.output
        cloud.account.behave({"bill_factor": 1.0})
        agreed = CliRunner().invoke(app, ["costs", "--reconcile", "--json"])
        assert agreed.exit_code == 0
        (bill,) = json.loads(agreed.stdout)["bills"]
        assert bill["billed_usd"] == pytest.approx(bill["ledger_usd"], abs=0.01)
        monkeypatch.delenv("RUNPOD_API_KEY")
        refused = CliRunner().invoke(app, ["costs", "--reconcile"])
        assert refused.exit_code == 1
        assert "RunPod needs an API key" in refused.output
    engine.dispose()
