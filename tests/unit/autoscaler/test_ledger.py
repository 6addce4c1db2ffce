"""The record that outlives the process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from autoscaler.fleet.ledger import Ledger
from autoscaler.fleet.sentences import SENTENCE_BYTES
from autoscaler.types import IntentState
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


def test_what_is_written_is_read_by_another_ledger(ledger: Ledger, engine: Engine, clock: Clock) -> None:
    wanted = ledger.want("a", "gpu", {"ray-tag": "value"}, "asked for")
    assert (wanted.state, wanted.wanted_at) == (IntentState.WANTED, 1000.0)
    bought = ledger.change(wanted, "bought", state=IntentState.BOUGHT, cloud="red", instance_id="i-1", bought_at=1001.5)
    again = Ledger(engine, clock)
    again.create_tables()
    assert again.live() == [bought]
    assert again.recent() == [bought]


def test_live_leaves_out_what_is_over_and_is_oldest_first(ledger: Ledger, clock: Clock) -> None:
    for state in IntentState:
        clock.now += 1
        ledger.change(ledger.want(state.value, "gpu", {}, "asked for"), "changed", state=state)
    assert [i.name for i in ledger.live()] == ["wanted", "buying", "bought", "ending"]
    assert [i.name for i in ledger.recent(2)] == ["ended", "failed"]


def test_every_change_leaves_a_sentence(ledger: Ledger, clock: Clock) -> None:
    intent = ledger.want("a", "gpu", {}, "first")
    for sentence in ("second", "third"):
        clock.now += 1
        ledger.change(intent, sentence)
    assert ledger.recent_events(2) == [
        {"at": 1001.0, "name": "a", "sentence": "second"},
        {"at": 1002.0, "name": "a", "sentence": "third"},
    ]


def test_the_usual_boot_is_the_median_of_the_last_twenty_in_that_cloud(ledger: Ledger, clock: Clock) -> None:
    assert ledger.usual_boot_s("red") is None

    def joined(name: str, cloud: str, boot_s: float) -> None:
        clock.now += 1
        intent = ledger.want(name, "gpu", {}, "asked for")
        ledger.change(intent, "joined", cloud=cloud, joined_at=clock.now + boot_s)

    joined("old", "red", 9999.0)
    for k in range(20):
        joined(f"r{k}", "red", 10.0 + k)
    joined("b", "blue", 500.0)
    ledger.change(ledger.want("never", "gpu", {}, "asked for"), "bought", cloud="red")
    assert ledger.usual_boot_s("red") == pytest.approx(19.5)
    assert ledger.usual_boot_s("blue") == pytest.approx(500.0)


def test_the_cost_runs_from_the_purchase_to_the_proof_of_the_end(ledger: Ledger) -> None:
    wanted = ledger.want("a", "gpu", {}, "asked for")
    assert wanted.cost_usd(5000.0) == 0.0
    bought = ledger.change(wanted, "bought", state=IntentState.BOUGHT, price_usd_per_hour=3.6, bought_at=1010.0)
    assert bought.cost_usd(1110.0) == pytest.approx(0.1)
    ended = ledger.change(bought, "gone", state=IntentState.ENDED, ended_at=1210.0)
    assert ended.cost_usd(9999.0) == pytest.approx(0.2)
    unclear = ledger.change(wanted, "unclear", state=IntentState.ENDING, price_usd_per_hour=3.6, buying_at=1000.0)
    assert unclear.billed_s(1050.0) == pytest.approx(50.0)


def test_what_a_machine_says_is_kept_as_one_short_line(ledger: Ledger) -> None:
    said = "CUDA error\n2026-11-30 error: forged \x1b[2J" + "x" * 100_000
    changed = ledger.change(ledger.want("a", "gpu", {}, "asked for"), said, reason=said)
    ledger.note("n" * 10_000 + "\n", said)
    assert changed.name == "a"
    kept = [event["sentence"] for event in ledger.recent_events(2)] + [ledger.live()[0].reason]
    assert all(text.isprintable() and len(text.encode()) <= 2 * SENTENCE_BYTES for text in kept)
    assert len(ledger.recent_events(1)[0]["name"]) <= 128


def test_old_sentences_go_and_launches_stay(
    ledger: Ledger, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoscaler.fleet.ledger.EVENT_ROWS", 600)
    wanted = ledger.want("a", "gpu", {}, "asked for")
    for number in range(1200):
        ledger.note("overlay", f"{number} " + "x" * 100_000)
    events = ledger.recent_events(10_000)
    assert events[-1]["sentence"].startswith("1199 ")
    assert 600 <= len(events) <= 600 + 500
    assert ledger.live() == [wanted]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 8 * 1024**2
