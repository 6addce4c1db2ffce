"""Good answers that are wrong: lists that omit or repeat, rows of a wrong kind, machines that are not what was sold.

The tests are named after the rows of autoscaler/FAILURES.md.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autoscaler.errors import CloudError, OutcomeUnknown
from autoscaler.fakes.faults import Answer, Fault
from autoscaler.types import IntentState, Trust
from tests.contract.clouds.test_field_failures import World, made
from tests.support.clouds.providers import RENTED

PRICES = ["F41", "F41-zero", "F41-text", "F41-nan", "F41-negative", "F41-absent"]


@pytest.fixture(params=RENTED)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    yield from made(request.param, tmp_path)


@pytest.fixture
def runpod(tmp_path: Path) -> Iterator[World]:
    yield from made("runpod", tmp_path)


@pytest.fixture
def vastai(tmp_path: Path) -> Iterator[World]:
    yield from made("vastai", tmp_path)


def joined(world: World, count: int) -> list[str]:
    """Launches whose machines have become Ray nodes, some time ago."""
    names = [world.joined() for _ in range(count)]
    world.tick(15)
    assert sorted(world.billing()) == sorted(names)
    return names


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("failure", ["F40", "F40-half"])
def test_f40_one_list_that_omits_machines_ends_none(world: World, failure: str, restarted: bool) -> None:
    names = joined(world, 3)
    if restarted:
        world.restart()
    world.cloud.fail(failure)
    world.tick(30)
    assert sorted(world.billing()) == sorted(names)
    assert {world.state(name) for name in names} == {IntentState.BOUGHT}
    assert world.cloud.calls("terminate") == 0
    assert world.creations() == 3


def test_f40_an_unclear_purchase_outlives_one_list_that_omits_it(world: World) -> None:
    world.cloud.fail("F6")
    world.cloud.fail("F5")
    name = world.launch()
    world.tick(10)
    world.cloud.fail("F40")
    world.tick(20)
    assert (world.billing(), world.state(name), world.creations()) == ([name], IntentState.BOUGHT, 1)


def test_f40_what_exists_is_kept_however_long_lists_omit_it_and_its_deadlines_hold(world: World) -> None:
    (name,) = joined(world, 1)
    world.cloud.account.behave({"list_lag_s": 1e9})
    world.tick(40)
    assert (world.billing(), world.state(name)) == ([name], IntentState.BOUGHT)
    world.cloud.clock.now += 7 * 3600.0
    world.tick(5)
    assert world.billing() == []
    assert "maximum age" in world.intent(name).reason


def test_f40_where_nobody_answers_by_id_lists_confirm_an_absence_after_two_minutes(world: World) -> None:
    (name,) = joined(world, 1)
    world.cloud.account.faults.add(Fault(on="get", times=99, answer=Answer(status=500, body="{}")))
    world.cloud.fail("F9")
    world.tick(60)
    assert world.state(name) is IntentState.BOUGHT
    world.tick(150)
    assert world.state(name) is IntentState.ENDED


@pytest.mark.parametrize("failure", PRICES)
def test_f41_a_price_that_is_not_told_is_the_accepted_one(world: World, failure: str) -> None:
    world.cloud.fail(failure)
    name = world.joined()
    world.tick(5)
    accepted = world.intent(name).accepted_usd_per_hour
    assert accepted is not None
    assert world.billing() == [name]
    assert world.spending().burn_usd_per_hour == pytest.approx(accepted)
    assert world.intent(name).price_usd_per_hour == pytest.approx(accepted)


def test_f41_the_ledger_is_corrected_when_the_truth_comes(world: World) -> None:
    world.cloud.fail("F41")
    name = world.joined()
    world.tick(5)
    accepted = world.intent(name).accepted_usd_per_hour or 0.0
    world.cloud.account.faults.clear()
    for machine in world.cloud.account.alive():
        machine.price_usd_per_hour = accepted * 1.015
    world.tick(5)
    assert world.intent(name).price_usd_per_hour == pytest.approx(accepted * 1.015, rel=1e-3)
    assert world.spending().burn_usd_per_hour == pytest.approx(accepted * 1.015, rel=1e-3)
    assert world.billing() == [name]


def european(world: World, failure: str) -> str:
    """A launch for the European Union whose machine boots before it is told where it is."""
    world.node_type = replace(world.node_type, regions=("EU",), trust=Trust.SECURE)
    world.restart()
    world.cloud.account.behave({"provision_s": 5.0})
    world.cloud.fail(failure)
    name = world.launch()
    world.tick(1)
    return name


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("failure", ["F42", "F42-gpu", "F42-no-gpu", "F42-trust"])
def test_f42_what_is_not_what_was_sold_is_ended_also_after_a_restart(
    tmp_path: Path, failure: str, restarted: bool
) -> None:
    for world in made("runpod", tmp_path):
        name = european(world, failure)
        assert world.billing() == [name]
        if restarted:
            world.restart()
        world.tick(20)
        assert world.billing() == []
        assert world.intent(name).broken
        assert any(told in world.intent(name).reason for told in ("it is in US", "its GPU", "it has 0", "its host"))


@pytest.mark.parametrize("failure", ["F42", "F42-gpu", "F42-no-gpu"])
def test_f42_vast_machines_are_held_to_what_was_sold_as_well(vastai: World, failure: str) -> None:
    vastai.cloud.fail(failure)
    vastai.node_type = replace(vastai.node_type, regions=("EU",))
    vastai.restart()
    name = vastai.launch()
    vastai.tick(20)
    assert vastai.billing() == []
    assert vastai.intent(name).broken


@pytest.mark.parametrize("failure", ["F43", "F43-null"])
def test_f43_a_status_that_is_not_published_ends_nothing_and_is_shown(world: World, failure: str) -> None:
    name = world.joined()
    world.cloud.fail(failure)
    world.tick(30)
    assert (world.billing(), world.state(name)) == ([name], IntentState.BOUGHT)
    assert "does not know" in world.degraded()
    assert name in world.degraded()
    assert ("HIBERNATING" in world.degraded()) == (failure == "F43")
    world.cloud.clock.now += 7 * 3600.0
    world.tick(5)
    assert world.billing() == []


@pytest.mark.parametrize("failure", ["F43", "F43-null"])
def test_f43_a_status_that_is_not_published_does_not_lift_the_join_deadline(world: World, failure: str) -> None:
    world.cloud.fail(failure)
    name = world.launch()
    world.tick(20)
    assert world.billing() == [name]
    world.cloud.clock.now += 600.0
    world.tick(5)
    assert world.billing() == []
    assert "did not join" in world.intent(name).reason


@pytest.mark.parametrize("failure", ["F44", "F44-created", "F44-types", "F44-twice"])
def test_f44_odd_rows_disable_nothing(world: World, failure: str) -> None:
    """Machines are bought, listed, kept and ended whatever else stands in the list."""
    world.cloud.fail(failure)
    first, second = world.joined(), world.joined()
    world.tick(20)
    assert sorted(world.billing()) == sorted([first, second])
    assert ("cannot read" in world.degraded()) == (failure in ("F44", "F44-types"))
    world.reconciler.demand.terminate([first], "no work")
    world.tick(20)
    assert world.billing() == [second]
    assert world.state(first) is IntentState.ENDED
    intent = world.intent(first)
    assert intent.bought_at is not None
    assert intent.bought_at >= intent.wanted_at


def test_f44_odd_rows_are_told_once_and_no_more_when_they_are_gone(world: World) -> None:
    name = world.joined()
    world.cloud.fail("F44")
    world.tick(10)
    assert world.said().count("cannot read") == 1
    world.cloud.account.faults.clear()
    world.tick(2)
    assert world.degraded() == ""
    assert world.state(name) is IntentState.BOUGHT


@pytest.mark.parametrize("failure", ["F44-unnamed", "F44-no-id"])
def test_f44_a_row_that_may_be_ours_and_cannot_be_read_keeps_its_launch(world: World, failure: str) -> None:
    (name,) = joined(world, 1)
    world.cloud.fail(failure)
    world.tick(25)
    assert (world.billing(), world.state(name)) == ([name], IntentState.BOUGHT)
    world.tick(20)
    assert (world.billing(), world.state(name)) == ([name], IntentState.BOUGHT)


def test_f44_odd_offers_are_left_out_and_said(world: World) -> None:
    world.cloud.fail("F44-offers")
    name = world.launch()
    world.tick(5)
    assert world.state(name) is IntentState.WANTED
    assert "cannot read" in world.degraded()
    world.cloud.account.faults.clear()
    world.cloud.clock.now += 60.0
    world.tick(3)
    assert world.billing() == [name]


def test_f44_one_odd_offer_leaves_the_others(runpod: World) -> None:
    before = runpod.cloud.run(runpod.cloud.provider.list_offers(runpod.node_type))
    runpod.cloud.account.faults.add(Fault(on="offers", spoil="stranger", times=9))
    after = runpod.cloud.run(runpod.cloud.provider.list_offers(runpod.node_type))
    assert [offer.offer_id for offer in before] == [offer.offer_id for offer in after]
    assert runpod.cloud.provider.skipped_rows()


@pytest.mark.parametrize("name", ["runpod", "vastai"])
def test_f45_a_key_that_may_not_buy_stops_the_cloud_until_a_person_has_mended_it(tmp_path: Path, name: str) -> None:
    for world in made(name, tmp_path):
        world.cloud.fail("F45")
        wanted = world.launch()
        world.tick(20)
        assert "STOPPED" in world.degraded()
        assert (world.creations(), world.state(wanted)) == (1, IntentState.WANTED)


def test_f45_a_pool_that_the_account_may_not_use_is_one_refused_offer(runpod: World) -> None:
    runpod.cloud.fail("F45-pool")
    name = runpod.launch()
    runpod.tick(3)
    assert (runpod.creations(), runpod.billing(), runpod.degraded()) == (2, [name], "")


def test_f46_a_purchase_that_takes_long_is_waited_for(world: World) -> None:
    world.cloud.fail("F46")
    created = world.cloud.create(world.cloud.name(), world.node_type)
    assert created.instance_id in world.cloud.account.machines


@pytest.mark.parametrize("failure", ["F48", "F48-blank", "F48-nothing", "F48-null"])
def test_f48_a_list_that_has_retired_without_saying_so_is_no_list(world: World, failure: str) -> None:
    name = world.joined()
    wanted = world.launch()
    before = world.creations()
    world.cloud.fail(failure)
    world.tick(40)
    assert (world.creations(), world.cloud.calls("terminate")) == (before, 0)
    assert (world.billing(), world.state(name)) == ([name], IntentState.BOUGHT)
    assert world.state(wanted) is IntentState.WANTED
    assert "not even none" in world.degraded()


@pytest.mark.parametrize("failure", ["F49", "F49-again"])
def test_f49_pages_without_an_end_are_no_list(world: World, failure: str) -> None:
    name = world.joined()
    world.cloud.fail(failure)
    with pytest.raises(CloudError, match="page"):
        world.cloud.list()
    assert world.cloud.calls("list") <= 210
    world.cloud.account.faults.clear()
    world.tick(2)
    assert (world.billing(), world.state(name)) == ([name], IntentState.BOUGHT)


ENVELOPES = {
    "runpod": [
        '{"pods":{}}',
        '{"pods":[],"pagination":[]}',
        '{"pods":[],"pagination":{"hasNextPage":"yes"}}',
        '{"pods":[],"pagination":{"hasNextPage":true,"nextCursor":7}}',
        '{"pods":[],"success":false}',
        "[]",
        "[" * 100_000,
    ],
    "vastai": [
        '{"success":true,"instances":{}}',
        '{"success":null,"instances":[]}',
        '{"success":true,"instances":[],"next_token":{}}',
        '{"success":true,"instances":[],"total_instances":"many"}',
        "[]",
        "[" * 100_000,
    ],
}


@pytest.mark.parametrize(("name", "body"), [(name, body) for name, bodies in ENVELOPES.items() for body in bodies])
def test_f49_a_list_is_unknown_when_its_envelope_is(tmp_path: Path, name: str, body: str) -> None:
    for world in made(name, tmp_path):
        kept = world.joined()
        world.cloud.account.faults.add(Fault(on="list", times=9, answer=Answer(status=200, body=body)))
        with pytest.raises(CloudError):
            world.cloud.list()
        assert world.state(kept) is IntentState.BOUGHT


def test_v09_an_instance_that_was_destroyed_is_closed_though_the_list_says_null(vastai: World) -> None:
    name = vastai.joined()
    vastai.reconciler.demand.terminate([name], "no work")
    vastai.cloud.fail("V9")
    vastai.reconciler.demand.terminate([name], "no work")
    for _ in range(40):
        vastai.tick(1)
        if vastai.billing() == []:
            break
        vastai.cloud.account.faults.clear()
        vastai.tick(1)
        vastai.cloud.fail("V9")
    vastai.tick(20)
    assert vastai.billing() == []
    assert vastai.state(name) is IntentState.ENDED
    assert vastai.creations() == 1


def test_v09_null_that_counts_none_is_an_empty_list(vastai: World) -> None:
    vastai.cloud.fail("V9-counted")
    assert vastai.cloud.list() == []
    name = vastai.launch()
    vastai.tick(2)
    assert vastai.billing() == [name]


def test_a_gone_instance_by_null_and_by_404_is_gone_and_every_other_answer_is_unclear(vastai: World) -> None:
    created = vastai.cloud.create(vastai.cloud.name(), vastai.node_type)
    exists = vastai.cloud.provider.instance_exists

    def told(status: int, body: str) -> bool:
        vastai.cloud.account.faults.add(Fault(on="get", times=3, answer=Answer(status=status, body=body)))
        try:
            return vastai.cloud.run(exists(created.instance_id))
        finally:
            vastai.cloud.account.faults.clear()

    assert not told(200, '{"instances":null}')
    assert not told(404, '{"success":false,"error":"no_such_instance"}')
    unclear = [(404, '{"success":false,"error":"auth_error"}'), (200, "{}"), (200, ""), (200, '{"instances":[]}')]
    for status, body in [*unclear, (200, '{"instances":{"id":1}}'), (500, "{}"), (200, '{"success":false}')]:
        with pytest.raises(CloudError):
            told(status, body)


def test_f49_an_answer_without_an_end_is_not_read_to_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    name = world.joined()
    monkeypatch.setattr("autoscaler.clouds.http._MAX_ANSWER_BYTES", 100_000)
    world.cloud.account.faults.add(Fault(on="list", answer=Answer(status=200, body=f'{{"pods":[{" " * 100_000}]}}')))
    with pytest.raises(CloudError, match="more than 100000 bytes"):
        world.cloud.list()
    world.cloud.account.faults.add(Fault(on="create", done=True, answer=Answer(status=201, body="x" * 100_001)))
    with pytest.raises(OutcomeUnknown):
        world.cloud.create(world.cloud.name(7), world.node_type)
    assert world.state(name) is IntentState.BOUGHT
