"""The record that outlives the process."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from autoscaler.fleet.launches import Launches
from autoscaler.records.journal import Journal
from autoscaler.records.ledger import Event, Ledger
from autoscaler.records.sentences import SENTENCE_BYTES
from autoscaler.types import Intent, IntentState, Promise, Trust
from cluster.storage.database import open_engine


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def ledger(engine: Engine, clock: Clock) -> Ledger:
    ledger = Ledger(engine, clock)
    ledger.create_tables()
    return ledger


def wanted(name: str, at: float = 1000.0) -> Intent:
    return Intent(name, "gpu", IntentState.WANTED, at, {"ray-tag": "value"})


def test_what_is_written_is_read_by_another_ledger(ledger: Ledger, engine: Engine, clock: Clock) -> None:
    ledger.write([wanted("a")], [Event(1000.0, "a", "asked for")])
    bought = replace(wanted("a"), state=IntentState.BOUGHT, cloud="red", instance_id="i-1", bought_at=1001.5)
    ledger.write([bought], [Event(1001.5, "a", "bought")])
    again = Ledger(engine, clock)
    again.create_tables()
    assert again.live() == again.recent() == list(again.read().live) == [bought]
    assert [event.sentence for event in again.read().events] == ["asked for", "bought"]


def test_live_leaves_out_what_is_over_and_is_oldest_first(ledger: Ledger) -> None:
    ledger.write([replace(wanted(state.value, 1000.0 + n), state=state) for n, state in enumerate(IntentState)])
    assert [i.name for i in ledger.live()] == ["wanted", "buying", "bought", "ending"]
    assert [i.name for i in ledger.recent(2)] == ["ended", "failed"]


def test_what_a_machine_says_is_kept_as_one_short_line(ledger: Ledger) -> None:
    said = "CUDA error\n2026-11-30 error: forged \x1b[2J" + "x" * 100_000
    ledger.write([replace(wanted("a"), reason=said)], [Event(1.0, "a", said), Event(2.0, "n" * 10_000 + "\n", said)])
    kept = [event["sentence"] for event in ledger.recent_events(2)] + [ledger.live()[0].reason]
    assert all(text.isprintable() and len(text.encode()) <= 2 * SENTENCE_BYTES for text in kept)
    assert len(ledger.recent_events(1)[0]["name"]) <= 128


def test_old_sentences_go_and_launches_stay(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoscaler.records.ledger.EVENT_ROWS", 600)
    ledger.write([wanted("a")])
    for number in range(0, 1200, 10):
        ledger.write([], [Event(1.0, "overlay", f"{n} " + "x" * 100_000) for n in range(number, number + 10)])
    events = ledger.recent_events(10_000)
    assert events[-1]["sentence"].startswith("1199 ")
    assert 600 <= len(events) <= 600 + 500
    assert ledger.live() == [wanted("a")]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 8 * 1024**2


def joined(name: str, cloud: str, at: float, boot_s: float) -> Intent:
    return replace(
        wanted(name, at), state=IntentState.ENDED, cloud=cloud, bought_at=at, joined_at=at + boot_s, ended_at=at + 5000
    )


def test_the_usual_boot_is_the_median_of_the_last_twenty_in_that_cloud(ledger: Ledger, clock: Clock) -> None:
    ledger.write([joined("old", "red", 1.0, 9999.0), joined("b", "blue", 2.0, 500.0)])
    ledger.write([joined(f"r{k}", "red", 10.0 + k, 10.0 + k) for k in range(20)])
    ledger.write([replace(wanted("never", 900.0), state=IntentState.BOUGHT, cloud="red", bought_at=900.0)])
    launches = Launches(Journal(ledger, clock), clock)
    assert launches.usual_boot_s("red") == pytest.approx(19.5)
    assert launches.usual_boot_s("blue") == pytest.approx(500.0)
    assert launches.usual_boot_s("green") is None


def test_a_new_process_knows_this_months_bills_and_all_billed_seconds(ledger: Ledger, clock: Clock) -> None:
    month_s = 31 * 86_400.0
    clock.now = 1.5 * month_s  # the second month since 1970
    for number, ended_at in enumerate((100.0, month_s + 1800.0, 1.4 * month_s)):
        over = replace(joined(f"a{number}", "red", ended_at - 3600.0, 10.0), ended_at=ended_at, price_usd_per_hour=1.0)
        ledger.write([over])
    launches = Launches(Journal(ledger, clock), clock)
    assert launches.spent_usd(month_s) == {"red": pytest.approx(1.5)}
    assert launches.billed_s() == {("red", "gpu"): pytest.approx(3 * 3600.0)}


def test_the_cost_runs_from_the_purchase_to_the_proof_of_the_end() -> None:
    assert wanted("a").cost_usd(5000.0) == 0.0
    bought = replace(wanted("a"), state=IntentState.BOUGHT, price_usd_per_hour=3.6, bought_at=1010.0)
    assert bought.cost_usd(1110.0) == pytest.approx(0.1)
    assert replace(bought, state=IntentState.ENDED, ended_at=1210.0).cost_usd(9999.0) == pytest.approx(0.2)
    unclear = replace(wanted("a"), state=IntentState.ENDING, price_usd_per_hour=3.6, buying_at=1000.0)
    assert unclear.billed_s(1050.0) == pytest.approx(50.0)


def test_what_was_promised_is_read_again_and_older_launches_have_no_promise(
    ledger: Ledger, engine: Engine, clock: Clock
) -> None:
    promise = Promise(("EU", "CH"), Trust.SECURE, "NVIDIA L4", 2)
    ledger.write([replace(wanted("a", 1.0), promise=promise), wanted("b", 2.0)])
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE launch_intents RENAME COLUMN promise TO unheard_of")
    older = Ledger(engine, clock)
    older.create_tables()
    assert [intent.promise for intent in older.live()] == [Promise(), Promise()]
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE launch_intents DROP COLUMN promise")
        connection.exec_driver_sql("ALTER TABLE launch_intents RENAME COLUMN unheard_of TO promise")
    assert [intent.promise for intent in older.live()] == [promise, Promise()]


def test_transfers_are_on_the_bill_of_the_day_on_which_a_machine_was_bought(ledger: Ledger, clock: Clock) -> None:
    clock.now = 13_600.0
    unbought = replace(wanted("a"), cloud="red", price_usd_per_hour=1.0, transfer_usd=0.5)
    assert unbought.cost_usd(clock.now) == 0.0
    bought = replace(unbought, state=IntentState.BOUGHT, bought_at=10_000.0)
    assert bought.cost_usd(13_600.0) == 1.5
    for launch in (bought, replace(bought, state=IntentState.ENDED, ended_at=13_600.0)):
        ledger.write([launch])
        launches = Launches(Journal(ledger, clock), clock)
        assert launches.spent_usd(10_000.0) == {"red": pytest.approx(1.5)}
        assert launches.spent_usd(11_800.0) == {"red": pytest.approx(0.5)}
