"""One test per rule of decide()."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from autoscaler.decisions.absences import Absence, Lookup, observe
from autoscaler.decisions.commands import Adopt, Buy, Close, Command, Drain, LookUp, Terminate, Wait
from autoscaler.decisions.decide import Observed, Policy, decide
from autoscaler.types import (
    DRAINING,
    STRAY,
    Instance,
    InstanceStatus,
    Intent,
    IntentState,
    Listing,
    NodeType,
    Promise,
    SkippedRow,
    Traits,
    Trust,
)

NOW = 10_000.0
POLICY = Policy(list_lag_s=10.0, join_timeout_s=600.0, max_age_s=3600.0)
GPU = NodeType("gpu", {"GPU": 1}, max_count=2, clouds=("red", "blue"))


def intent(name: str = "a", state: IntentState = IntentState.BOUGHT, age_s: float = 100.0, **values: Any) -> Intent:
    made = Intent(name, "gpu", state, wanted_at=NOW - age_s)
    if state is not IntentState.WANTED:
        made = replace(made, cloud="red", buying_at=NOW - age_s)
    if state is IntentState.BOUGHT:
        made = replace(made, instance_id=f"i-{name}", bought_at=NOW - age_s)
    return replace(made, **values)


def machine(name: str = "a", age_s: float = 100.0, **values: Any) -> Instance:
    return replace(Instance("red", f"i-{name}", name, InstanceStatus.RUNNING, NOW - age_s, 1.0), **values)


def commands(
    intents: Sequence[Intent],
    red: Sequence[Instance] | None = (),
    blue: Sequence[Instance] | None = (),
    node_types: Mapping[str, NodeType] | None = None,
    **observed: Any,
) -> list[Command]:
    """Unless a test says otherwise, the cloud says of what is not listed that it does not exist."""
    types = {"gpu": GPU} if node_types is None else node_types
    listings = {
        cloud: None if seen is None else Listing(tuple(seen), NOW, NOW)
        for cloud, seen in (("red", red), ("blue", blue))
    }
    unlisted: dict[str, Any] = {
        "absences": observe({}, intents, listings),
        "lookups": {i.name: Lookup(NOW, exists=False) for i in intents},
    }
    observed = unlisted | observed
    return decide(Observed(intents, listings, types, **observed), NOW, POLICY)


def test_a_wanted_machine_is_bought_from_the_clouds_with_a_good_listing() -> None:
    wanted = intent(state=IntentState.WANTED)
    assert commands([wanted]) == [Buy("a", ("red", "blue"))]
    assert commands([wanted], red=None) == [Buy("a", ("blue",))]
    assert commands([wanted], red=None, blue=None) == [
        Wait("a", "red: its list of instances is not known; blue: its list of instances is not known")
    ]


def test_only_clouds_of_the_node_type_are_asked() -> None:
    only_blue = {"gpu": replace(GPU, clouds=("blue", "unknown"))}
    assert commands([intent(state=IntentState.WANTED)], node_types=only_blue) == [Buy("a", ("blue",))]


def test_a_node_type_that_is_not_configured_any_more_fails() -> None:
    (command,) = commands([intent(state=IntentState.WANTED)], node_types={})
    assert isinstance(command, Close)
    assert command.failed
    assert "gpu" in command.reason


@pytest.mark.parametrize("state", [IntentState.BUYING, IntentState.BOUGHT, IntentState.ENDING])
def test_max_count_counts_all_that_may_be_billed(state: IntentState) -> None:
    taken = [intent("a", state, age_s=1), intent("b", state, age_s=1)]
    wanted = intent("c", IntentState.WANTED)
    assert not any(isinstance(c, Buy) for c in commands([*taken, wanted]))
    assert Buy("c", ("red", "blue")) in commands([taken[0], wanted])


@pytest.mark.parametrize("state", [IntentState.ENDED, IntentState.FAILED])
def test_max_count_does_not_count_what_is_over(state: IntentState) -> None:
    over = [intent("a", state), intent("b", state)]
    assert commands([*over, intent("c", IntentState.WANTED)]) == [Buy("c", ("red", "blue"))]


def test_max_count_does_not_count_other_node_types() -> None:
    other = [intent("a", age_s=1, node_type="cpu"), intent("b", age_s=1, node_type="cpu")]
    assert commands([*other, intent("c", IntentState.WANTED)]) == [Buy("c", ("red", "blue"))]


def test_the_longest_waiting_are_bought_first() -> None:
    waiting = [intent(name, IntentState.WANTED, age_s=age) for name, age in (("new", 1), ("old", 9), ("older", 10))]
    assert [c.name for c in commands(waiting) if isinstance(c, Buy)] == ["older", "old"]


def test_a_purchase_of_unknown_outcome_is_adopted_by_its_name() -> None:
    found = machine()
    assert commands([intent(state=IntentState.BUYING)], red=[found]) == [Adopt("a", found)]


@pytest.mark.parametrize("state", [IntentState.BUYING, IntentState.BOUGHT, IntentState.ENDING])
def test_without_a_listing_nothing_is_done_in_that_cloud(state: IntentState) -> None:
    assert commands([intent(state=state)], red=None) == []


def test_a_machine_whose_id_is_known_is_bounded_in_time_without_a_listing() -> None:
    (late,) = commands([intent(age_s=601.0)], red=None)
    assert isinstance(late, Terminate)
    assert (late.instance.instance_id, late.reason) == ("i-a", "it did not join within 600 s")
    joined = intent(age_s=3601.0, joined_at=NOW - 3000.0)
    (old,) = commands([joined], red=None)
    assert isinstance(old, Terminate)
    assert "maximum age" in old.reason


def test_a_node_that_ray_does_not_name_ends_sooner_while_ray_speaks_of_others() -> None:
    node = intent(joined_at=NOW - 90.0)
    for ray_speaks, limit_s in ((True, POLICY.unreported_limit_s), (False, POLICY.silent_limit_s)):
        within, beyond = (NOW - limit_s, ray_speaks), (NOW - limit_s - 1, ray_speaks)
        assert commands([node], red=[machine()], unreported={"a": within}) == []
        (command,) = commands([node], red=[machine()], unreported={"a": beyond})
        assert isinstance(command, Terminate)
        assert "Ray" in command.reason


@pytest.mark.parametrize("state", [IntentState.BUYING, IntentState.BOUGHT, IntentState.ENDING])
def test_a_listing_may_lag_behind_a_purchase(state: IntentState) -> None:
    assert commands([intent(state=state, age_s=9.0)]) == []
    (command,) = commands([intent(state=state, age_s=10.0)])
    if state is IntentState.BOUGHT:
        assert isinstance(command, Terminate)
    else:
        assert isinstance(command, Close)
        assert command.failed == (state is IntentState.BUYING)


def test_an_ending_one_bought_lately_may_still_appear() -> None:
    late = intent(state=IntentState.ENDING, age_s=9.0, bought_at=NOW - 9.0, instance_id="i-a", reason="idle")
    assert commands([late]) == []
    assert commands([late], red=[machine(age_s=9.0)]) == [Terminate(machine(age_s=9.0), "idle")]


def test_the_lag_counts_from_the_answer_not_from_the_question() -> None:
    slow = intent(state=IntentState.BUYING, age_s=29.0, answered_at=NOW - 9.0)
    assert commands([slow]) == []
    assert isinstance(commands([replace(slow, answered_at=NOW - 10.0)])[0], Close)


def test_what_a_cloud_sold_after_saying_no_is_swept_while_the_launch_goes_elsewhere() -> None:
    elsewhere = intent(cloud="blue")
    sold = machine()
    swept = Terminate(sold, "no launch claims it", double=True)
    assert commands([elsewhere], red=[sold], blue=[replace(sold, cloud="blue")]) == [swept]
    assert swept in commands([intent(state=IntentState.WANTED)], red=[sold])


def test_a_node_that_is_busy_with_nothing_is_ended() -> None:
    joined = intent(joined_at=NOW - 90)
    for unused_s, ended in ((120.0, False), (121.0, True)):
        made = commands([joined], red=[machine()], unused={"a": (NOW - unused_s, "a forgotten object")})
        assert [isinstance(command, Terminate) for command in made] == ([True] if ended else [])
    assert isinstance(made[0], Terminate)
    assert "a forgotten object" in made[0].reason
    assert not made[0].broken


def test_what_vanished_is_closed() -> None:
    (command,) = commands([intent(joined_at=NOW - 50, listed_at=NOW - 60)])
    assert command == Close("a", "it vanished from the cloud's list", NOW)


def test_what_has_joined_need_not_be_listed_yet() -> None:
    assert commands([intent(age_s=5.0, joined_at=NOW - 1)]) == []


def test_a_failed_machine_is_ended() -> None:
    broken = machine(status=InstanceStatus.FAILED, detail="driver error")
    ended = Terminate(broken, "its machine has failed: driver error", broken=True)
    assert commands([intent()], red=[broken]) == [ended]


def test_a_machine_that_does_not_join_in_time_is_ended() -> None:
    assert commands([intent(age_s=600.0)], red=[machine(age_s=600.0)]) == []
    (command,) = commands([intent(age_s=601.0)], red=[machine(age_s=601.0)])
    assert isinstance(command, Terminate)
    assert "join" in command.reason
    assert command.broken
    assert commands([intent(age_s=601.0, joined_at=NOW - 500)], red=[machine(age_s=601.0)]) == []


def test_a_machine_of_maximum_age_is_ended_even_when_joined() -> None:
    assert commands([intent(age_s=3600.0, joined_at=NOW - 9)], red=[machine(age_s=3600.0)]) == []
    (command,) = commands([intent(age_s=3601.0, joined_at=NOW - 9)], red=[machine(age_s=3601.0)])
    assert isinstance(command, Terminate)
    assert "maximum age" in command.reason


def test_of_two_machines_with_one_name_the_known_one_is_kept() -> None:
    older_double = machine(age_s=200.0, instance_id="i-double")
    (command,) = commands([intent()], red=[older_double, machine()])
    assert command == Terminate(older_double, "a second machine for the same launch", double=True)


def test_of_two_machines_with_one_name_the_oldest_is_adopted() -> None:
    first, second = machine(), machine(age_s=50.0, instance_id="i-double")
    ended, adopted = commands([intent(state=IntentState.BUYING)], red=[second, first])
    assert isinstance(ended, Terminate)
    assert ended.instance.instance_id == "i-double"
    assert adopted == Adopt("a", first)


def test_one_given_up_before_its_purchase_was_clear_is_adopted_for_its_bill_and_ended() -> None:
    ended, adopted = commands([intent(state=IntentState.ENDING, reason="idle")], red=[machine()])
    assert ended == Terminate(machine(), "idle")
    assert adopted == Adopt("a", machine())


def test_a_stray_is_billed_until_a_good_list_omits_it() -> None:
    stray = intent("x+i-x", IntentState.ENDING, node_type=STRAY, instance_id="i-x", reason="no launch claims it")
    swept = Terminate(machine("x"), "no launch claims it", double=True)
    assert commands([stray], red=[machine("x")]) == [swept]
    assert commands([stray], red=None) == []
    assert commands([stray]) == [Close("x+i-x", "no launch claims it", NOW)]


def test_what_nobody_claims_is_swept() -> None:
    expected = [Terminate(machine("x"), "no launch claims it", double=True)]
    assert commands([], red=[machine("x")]) == expected
    assert commands([intent("x", IntentState.ENDED)], red=[machine("x")]) == expected


@pytest.mark.parametrize("reason", ["idle", ""])
def test_an_ending_machine_is_ended_until_it_is_gone(reason: str) -> None:
    (command,) = commands([intent(state=IntentState.ENDING, reason=reason, instance_id="i-a")], red=[machine()])
    assert isinstance(command, Terminate)
    assert command.reason == (reason or "it is not wanted any more")


def test_an_ending_one_that_was_never_bought_is_closed() -> None:
    unbought = intent(state=IntentState.ENDING, cloud=None, buying_at=None, reason="idle")
    assert commands([unbought], red=None, blue=None) == [Close("a", "idle")]


def test_what_is_over_is_left_alone() -> None:
    assert commands([intent("a", IntentState.ENDED), intent("b", IntentState.FAILED)]) == []


def test_terminations_come_first() -> None:
    intents = [
        intent("w", IntentState.WANTED),
        intent("gone", joined_at=NOW, listed_at=NOW),
        intent("e", IntentState.ENDING, reason="idle", instance_id="i-e"),
    ]
    kinds = [type(c) for c in commands(intents, red=[machine("e"), machine("x")])]
    assert kinds == [Terminate, Terminate, Close, Wait]


def test_a_listing_tells_nothing_of_later_than_its_request() -> None:
    bought = intent(age_s=100.0)
    late = {"red": Listing((), NOW - 95.0, NOW - 95.0), "blue": None}
    assert decide(Observed([bought], late, {"gpu": GPU}), NOW, POLICY) == []


def test_an_old_listing_only_shows_that_a_cloud_may_be_bought_from() -> None:
    old = {"red": Listing((machine("stray"),), NOW - 60.0, NOW - 60.0, news=False), "blue": None}
    intents = [intent("gone"), intent("e", IntentState.ENDING), intent("w", IntentState.WANTED)]
    wide = {"gpu": replace(GPU, max_count=9)}
    assert decide(Observed(intents, old, wide), NOW, POLICY) == [Buy("w", ("red",))]


def test_a_purchase_under_way_is_neither_closed_nor_begun_again() -> None:
    slow = intent(state=IntentState.BUYING, age_s=99.0)
    assert commands([slow], purchasing=frozenset("a")) == []
    assert commands([intent(state=IntentState.WANTED)], purchasing=frozenset("a")) == []


@pytest.mark.parametrize(
    ("observed", "says"),
    [
        ({"held": {"red": "rests for 9 s", "blue": "no balance"}}, "red: rests for 9 s; blue: no balance"),
        ({"tripped": {"gpu": "its last 3 machines never joined"}}, "its last 3 machines never joined"),
        (
            {"drained": {"all clouds": "the budget is used up"}},
            "red: the budget is used up; blue: the budget is used up",
        ),
    ],
)
def test_what_may_not_be_bought_waits_with_its_reason(observed: dict[str, Any], says: str) -> None:
    assert commands([intent(state=IntentState.WANTED)], **observed) == [Wait("a", says)]


def test_a_held_cloud_leaves_the_others() -> None:
    assert commands([intent(state=IntentState.WANTED)], held={"red": "no balance"}) == [Buy("a", ("blue",))]
    assert commands([intent(state=IntentState.WANTED)], drained={"blue": "used up"}) == [Buy("a", ("red",))]


def test_at_its_max_count_a_launch_waits_and_says_so() -> None:
    intents = [intent("a", age_s=1), intent("b", age_s=1), intent("c", IntentState.WANTED)]
    assert commands(intents) == [Wait("c", "gpu has its max_count of 2 machines")]


def test_a_price_above_the_accepted_one_ends_the_machine() -> None:
    bought = intent(accepted_usd_per_hour=1.0)
    assert commands([bought], red=[machine(price_usd_per_hour=1.02)]) == []
    (command,) = commands([bought], red=[machine(price_usd_per_hour=1.03)])
    assert isinstance(command, Terminate)
    assert command.broken
    assert "charged at 1.03 USD/h, accepted were 1" in command.reason


def test_what_the_budget_drains_is_ended() -> None:
    (command,) = commands([intent()], red=[machine()], drained={"red": "the budget is used up"})
    assert isinstance(command, Terminate)
    assert (command.reason, command.broken) == ("the budget is used up", False)
    assert commands([intent()], red=[machine()], drained={"blue": "the budget is used up"}) == []


def test_what_the_budget_drains_may_finish_its_work_first() -> None:
    used_up = {"red": "the budget is used up"}
    working = intent(joined_at=NOW - 50)
    assert commands([working], red=[machine()], drained=used_up) == [Drain("a", "the budget is used up")]
    told = replace(working, phases={DRAINING: NOW - 30}, reason="the budget is used up")
    assert commands([told], red=[machine()], drained=used_up) == []
    (idle,) = commands([told], red=[machine()], drained=used_up, unused={"a": (NOW, "")})
    (idle_at_once,) = commands([working], red=[machine()], drained=used_up, unused={"a": (NOW, "")})
    assert idle == idle_at_once == Terminate(machine(), "the budget is used up")


def test_what_drains_goes_within_the_bound_even_when_there_is_money_again() -> None:
    told = intent(joined_at=NOW - 500, phases={DRAINING: NOW - POLICY.drain_s + 1}, reason="used up")
    assert commands([told], red=[machine()]) == []
    late = replace(told, phases={DRAINING: NOW - POLICY.drain_s})
    assert commands([late], red=[machine()]) == [Terminate(machine(), "used up; its work was not over 120 s later")]
    by_itself = replace(late, reason="")
    (command,) = commands([by_itself], red=[machine()])
    assert isinstance(command, Terminate)
    assert command.reason.startswith("it takes no new work")


@pytest.mark.parametrize("skew_s", [-300.0, 300.0])
def test_ages_are_counted_by_our_own_clock(skew_s: float) -> None:
    """A cloud whose clock is five minutes off says when its machines were created."""
    for age_s, ends in ((POLICY.join_timeout_s - 1, False), (POLICY.join_timeout_s + 1, True)):
        found = commands([intent(age_s=age_s)], red=[machine(age_s=age_s - skew_s)])
        assert bool(found) is ends
    for age_s, ends in ((POLICY.max_age_s - 1, False), (POLICY.max_age_s + 1, True)):
        found = commands([intent(age_s=age_s, joined_at=NOW - 9)], red=[machine(age_s=age_s - skew_s)])
        assert bool(found) is ends


def test_what_was_sold_and_is_not_listed_is_ended_by_its_id_before_it_is_closed() -> None:
    """No list may ever have shown it, and all the same it may be billed."""
    for joined_at in (None, NOW - 9):  # a machine that works may be one that its cloud never lists
        (command,) = commands([intent(joined_at=joined_at)])
        assert isinstance(command, Terminate)
        assert command.reason == "it vanished from the cloud's list"
        assert (command.instance.instance_id, command.broken) == ("i-a", joined_at is None)
    vanished = Close("a", "it vanished from the cloud's list", NOW, broken=True)
    assert commands([intent(listed_at=NOW - 1)]) == [vanished]  # its bill ends with this very list
    ending = intent(state=IntentState.ENDING, instance_id="i-a", bought_at=NOW - 99, reason="lost", broken=True)
    (again,) = commands([ending])  # until its cloud has accepted that
    assert isinstance(again, Terminate)
    assert commands([ending], asked_to_end={("red", "i-a")}) == [Close("a", "lost", NOW, broken=True)]
    assert commands([replace(ending, listed_at=NOW - 9)]) == [Close("a", "lost", NOW, broken=True)]


def test_a_rival_is_bought_after_its_twin_and_takes_no_place() -> None:
    one = {"gpu": replace(GPU, max_count=1)}
    twin, rival = intent("a", IntentState.WANTED), intent("b", IntentState.WANTED, rival_of="a")
    assert commands([twin, rival], node_types=one) == [Buy("a", ("red", "blue"))]
    coming = intent("a", age_s=1)
    assert commands([coming, rival], node_types=one) == [Buy("b", ("red", "blue"))]
    assert commands([intent("c", age_s=1), rival], node_types=one) == [
        Wait("b", "gpu has its max_count of 1 machines")
    ], "its twin is gone, so it counts as any other"


def test_clouds_differ_in_how_late_they_list() -> None:
    policy = replace(POLICY, list_lags_s={"red": 30.0})
    recent = intent(age_s=20.0)
    seen: dict[str, Listing | None] = {"red": Listing((), NOW, NOW)}
    absences = observe({}, [recent], seen)
    assert decide(Observed([recent], seen, {"gpu": GPU}, absences=absences), NOW, policy) == []
    assert len(decide(Observed([recent], seen, {"gpu": GPU}, absences=absences), NOW, POLICY)) == 1


def test_what_a_good_list_has_shown_and_another_omits_is_gone_however_young() -> None:
    young = intent(state=IntentState.ENDING, age_s=3.0, bought_at=NOW - 3.0, instance_id="i-a", reason="idle")
    assert commands([young]) == []
    assert commands([replace(young, listed_at=NOW - 1.0)]) == [Close("a", "idle", NOW)]


def test_one_list_that_omits_a_machine_ends_nothing() -> None:
    seen = intent(listed_at=NOW - 90, joined_at=NOW - 50)
    asks = [LookUp("a", "red", "i-a")]
    assert commands([seen], lookups={}) == asks
    both = commands([seen, replace(seen, name="b", instance_id="i-b")], lookups={})
    assert both == [*asks, LookUp("b", "red", "i-b")]


@pytest.mark.parametrize(
    ("lookup", "omitted_s", "gone"),
    [
        (Lookup(NOW, exists=False), 0.0, True),
        (Lookup(NOW, exists=None), 119.0, False),  # lists and lookups may be wrong at the same time
        (Lookup(NOW, exists=None), 120.0, True),
        (Lookup(NOW, exists=True), 99.0, False),
        (Lookup(NOW - 50.0, exists=None), 10.0, False),  # of this absence it has not been asked yet
    ],
)
def test_an_absence_is_confirmed_by_its_id_or_after_long_by_lists(lookup: Lookup, omitted_s: float, gone: bool) -> None:
    seen = intent(listed_at=NOW - 290, joined_at=NOW - 280)
    absences = {"a": Absence(NOW - omitted_s, NOW, NOW - omitted_s)}
    found = commands([seen], absences=absences, lookups={"a": lookup})
    closed = Close("a", "it vanished from the cloud's list", NOW - omitted_s)
    assert (found == [closed]) is gone
    assert any(isinstance(command, Close) for command in found) is gone


def test_what_its_cloud_has_accepted_to_end_is_gone_with_the_first_list_that_omits_it() -> None:
    ending = intent(state=IntentState.ENDING, instance_id="i-a", listed_at=NOW - 9, reason="idle")
    accepted = {("red", "i-a")}
    assert commands([ending], lookups={}, asked_to_end=accepted) == [Close("a", "idle", NOW)]
    asked, ended = sorted(commands([ending], lookups={}), key=lambda command: not isinstance(command, LookUp))
    assert (asked, type(ended)) == (LookUp("a", "red", "i-a"), Terminate)


def test_without_a_list_what_was_to_end_is_looked_up() -> None:
    ending = intent(state=IntentState.ENDING, instance_id="i-a", listed_at=NOW - 9, reason="idle")
    accepted = {("red", "i-a")}
    assert commands([ending], red=None, lookups={}, asked_to_end=accepted) == [LookUp("a", "red", "i-a")]
    gone = {"a": Lookup(NOW - 1, exists=False)}
    assert commands([ending], red=None, lookups=gone, asked_to_end=accepted) == [Close("a", "idle", NOW - 1)]
    assert commands([ending], red=None, lookups=gone) == []


def test_the_end_of_a_second_machine_says_nothing_of_the_first() -> None:
    double = {("red", "i-double")}
    seen = intent(listed_at=NOW - 90, joined_at=NOW - 80)
    assert commands([seen], lookups={}, asked_to_end=double) == [LookUp("a", "red", "i-a")]


def test_an_absence_begins_anew_when_the_machine_was_listed_meanwhile() -> None:
    seen = intent(listed_at=NOW - 90)

    def after(before: Mapping[str, Absence], *listed: Instance, as_of: float) -> dict[str, Absence]:
        return observe(before, [seen], {"red": Listing(listed, as_of, as_of)})

    first = after({}, as_of=NOW - 30)
    assert first["a"].since == NOW - 30
    assert after(first, as_of=NOW - 20)["a"] == Absence(NOW - 30, NOW - 20, NOW - 30)
    assert observe(first, [seen], {"red": None}) == first
    assert after(after(first, machine(), as_of=NOW - 20), as_of=NOW - 10)["a"].since == NOW - 10
    assert after(first, machine(name="renamed", instance_id="i-a"), as_of=NOW) == {}


@pytest.mark.parametrize("row", [SkippedRow("pod", "no id", name="a"), SkippedRow("pod", "no name", instance_id="i-a")])
def test_a_row_that_cannot_be_read_may_be_the_machine_that_is_missed(row: SkippedRow) -> None:
    listings = {"red": Listing((), NOW, NOW, skipped=(row,))}
    assert observe({}, [intent(listed_at=NOW - 90)], listings) == {}
    assert observe({}, [intent("b", listed_at=NOW - 90)], listings) != {}


def test_deadlines_hold_for_what_exists_and_is_not_listed() -> None:
    late = intent(age_s=601.0, listed_at=NOW - 500)
    exists = {"a": Lookup(NOW, exists=True)}
    (ended,) = commands([late], lookups=exists)
    assert isinstance(ended, Terminate)
    assert "did not join" in ended.reason


def test_a_machine_is_no_stranger_because_its_name_was_changed() -> None:
    renamed = machine(name="renamed", instance_id="i-a")
    assert commands([intent()], red=[renamed]) == []


def test_a_row_that_stands_in_a_list_twice_is_one_machine() -> None:
    assert commands([intent()], red=[machine(), machine()]) == []


@pytest.mark.parametrize("joined_at", [None, NOW - 9])
def test_a_status_that_nobody_knows_ends_nothing_before_its_deadlines(joined_at: float | None) -> None:
    strange = machine(status=InstanceStatus.UNKNOWN, detail="RunPod calls it 'HIBERNATING'")
    assert commands([intent(joined_at=joined_at)], red=[strange]) == []
    old = intent(age_s=3601.0, joined_at=joined_at)
    (ended,) = commands([old], red=[strange])
    assert isinstance(ended, Terminate)
    if joined_at is None:
        assert "HIBERNATING" in ended.reason


EUROPE = Promise(("EU",), Trust.SECURE, "NVIDIA L4", 2)


@pytest.mark.parametrize(
    ("traits", "says"),
    [
        (Traits("US-KS-2", "US"), "it is in US-KS-2, not in EU as was asked for"),
        (Traits("", "US"), "it is in US, not in EU"),
        (Traits(trust=Trust.COMMUNITY), "its host is community, sold as secure"),
        (Traits(gpu="NVIDIA A100 80GB PCIe"), "its GPU is NVIDIA A100 80GB PCIe, sold was NVIDIA L4"),
        (Traits(gpu_count=1), "it has 1 of the 2 GPUs that were sold"),
        (Traits(gpu_count=0), "it has 0 of the 2 GPUs that were sold"),
        (Traits("EU-RO-1", "RO", Trust.SECURE, "L4", 2), ""),
        (Traits(), ""),
    ],
)
def test_what_is_not_what_was_bought_is_ended(traits: Traits, says: str) -> None:
    found = commands([intent(promise=EUROPE)], red=[machine(traits=traits)])
    assert bool(found) is bool(says)
    for command in found:
        assert isinstance(command, Terminate)
        assert command.broken
        assert says in command.reason


def test_a_retired_cloud_drains() -> None:
    """It is not bought from any more: new work stays away, what works may end within `drain_s`."""
    retired = replace(POLICY, retired={"red"}, drain_s=60.0)
    listings = {"red": Listing((machine(),), NOW, NOW)}

    def decided(**values: Any) -> list[Command]:
        return decide(Observed([intent(**values)], listings, {}), NOW, retired)

    assert [type(command) for command in decided()] == [Terminate], "it has not joined"
    (drain,) = decided(joined_at=NOW - 50)
    assert drain == Drain("a", "the settings do not name red any more")
    assert decided(joined_at=NOW - 50, phases={DRAINING: NOW - 59}) == []
    (end,) = decided(joined_at=NOW - 50, phases={DRAINING: NOW - 60})
    assert isinstance(end, Terminate)
    idle = Observed([intent(joined_at=NOW - 50)], listings, {}, unused={"a": (NOW, "")})
    assert [type(command) for command in decide(idle, NOW, retired)] == [Terminate]


@pytest.mark.parametrize("state", [IntentState.BUYING, IntentState.BOUGHT, IntentState.ENDING])
@pytest.mark.parametrize("joined_at", [None, NOW])
def test_what_nobody_can_ask_about_counts_until_its_maximum_age(state: IntentState, joined_at: float | None) -> None:
    """Then it has ended itself: for longer it would only keep others from being bought."""
    gone = replace(POLICY, unreachable={"red"}, drain_s=60.0)
    for age_s, closed in ((3660.0, False), (3661.0, True)):
        seen = Observed([intent(state=state, age_s=age_s, joined_at=joined_at)], {"red": None}, {})
        found = decide(seen, NOW, gone)
        assert [(type(c), getattr(c, "at", None)) for c in found] == ([(Close, NOW - age_s + 3600)] if closed else [])
        assert all("look into its console" in c.reason for c in found if isinstance(c, Close))
