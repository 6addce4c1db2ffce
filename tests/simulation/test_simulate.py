"""Days of work in seconds: traces, policies, and figures that agree with the clouds' own bills."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from autoscaler.simulation.arrivals import SHIPPED, Arrival, TraceError, parse, read_trace
from autoscaler.simulation.run import MARKETS, FixedIdle, Outcome, PolicyError, parse_policy, simulate
from cluster.cli.main import app
from cluster.storage.database import open_engine
from tests.simulation.make_traces import TRACES, as_csv

HOUR_S = 3600.0


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = open_engine("sqlite://")
    yield engine
    engine.dispose()


def play(engine: Engine, trace: list[Arrival], idle_s: float, max_count: int = 4, seed: int = 0) -> Outcome:
    return simulate(trace, FixedIdle(idle_s), engine, max_count, seed=seed)


def test_one_request_is_billed_for_its_boot_its_work_and_the_idle_tail(engine: Engine) -> None:
    outcome = play(engine, [Arrival(10.0, 100.0)], idle_s=30.0)
    (wait_s,) = outcome.waits_s
    assert outcome.launches == 1
    assert outcome.billed_gpu_s == pytest.approx(wait_s + 100 + 30, abs=3)
    assert outcome.cost_usd == pytest.approx(outcome.ledger_usd, abs=3 / 3600)


def test_a_longer_idle_time_buys_shorter_waits_with_billed_hours(engine: Engine) -> None:
    trace = read_trace("bursty")[:60]
    short = play(engine, trace, idle_s=5.0)
    other = open_engine("sqlite://")
    long = play(other, trace, idle_s=4 * HOUR_S)
    other.dispose()
    assert long.billed_gpu_s > 2 * short.billed_gpu_s
    assert sum(long.waits_s) < 0.8 * sum(short.waits_s)
    assert long.launches < short.launches


def test_every_request_is_served_whatever_the_market_refuses_and_the_ledger_misses_nothing(engine: Engine) -> None:
    outcome = play(engine, read_trace("bursty")[:40], idle_s=60.0, max_count=2, seed=7)
    assert len(outcome.waits_s) == outcome.requests == 40
    assert outcome.peak_machines <= 2
    assert outcome.cost_usd <= outcome.ledger_usd <= outcome.cost_usd * 1.02
    assert outcome.useful_gpu_s < outcome.billed_gpu_s


def test_equal_seeds_give_equal_outcomes(engine: Engine) -> None:
    trace = read_trace("office-hours")[:20]
    other = open_engine("sqlite://")
    assert play(engine, trace, 60.0).figures() == play(other, trace, 60.0).figures()
    other.dispose()


def test_the_comparisons_are_what_they_say(engine: Engine) -> None:
    figures = play(engine, [Arrival(0.0, 1000.0)], 0.0).figures()
    assert figures["serverless_usd"] == pytest.approx(0.31)
    assert figures["always_on_usd"] == pytest.approx(figures["hours"] * MARKETS[0].price_usd_per_hour, abs=0.01)
    assert figures["useful_share"] == pytest.approx(1000 / figures["billed_gpu_s"], abs=0.001)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_traces_are_what_their_maker_makes(name: str) -> None:
    import random  # noqa: PLC0415

    shipped = Path(__file__).parents[2] / "autoscaler" / "simulation" / f"{name}.csv"
    assert shipped.read_text() == as_csv(TRACES[name](random.Random(name)))
    assert len(read_trace(name)) > 200


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: the columns at_s and work_s are needed"),
        ("at_s,work_s\n", "no arrival"),
        ("at_s,work_s\n1,x\n", "line 2: at_s and work_s must be numbers"),
        ("at_s,work_s\n1,2\n-1,2\n", "line 3: at_s must be at least 0"),
        ("at_s,work_s\n1\n", "line 2"),
    ],
)
def test_a_wrong_trace_is_refused_with_its_line(text: str, says: str) -> None:
    with pytest.raises(TraceError, match=says):
        parse(text, "mine.csv")


def test_what_is_no_policy_is_refused_with_the_way_out() -> None:
    assert parse_policy("fixed:7.5") == FixedIdle(7.5)
    for wrong in ("fixed", "fixed:-1", "fixed:nan", "clever:3"):
        with pytest.raises(PolicyError, match="fixed:SECONDS"):
            parse_policy(wrong)


def test_the_command_prints_figures_and_draws(tmp_path: Path) -> None:
    trace = tmp_path / "mine.csv"
    trace.write_text("at_s,work_s\n0,30\n4000,60\n")
    picture = tmp_path / "out.png"
    arguments = [
        "simulate",
        str(trace),
        "--policy",
        "fixed:5",
        "--policy",
        "fixed:60",
        "--plot",
        str(picture),
        "--json",
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout.splitlines()[-1])
    assert [outcome["policy"] for outcome in report["outcomes"]] == ["5 s", "60 s"]
    assert picture.read_bytes().startswith(b"\x89PNG")
