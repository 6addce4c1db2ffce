"""What the reconciler makes of clouds that are slow, refuse, lie about prices, or sell machines that never join."""

from dataclasses import replace
from typing import Any

import pytest

from autoscaler.clouds.fake import Fault
from autoscaler.decisions.budget import Budget, Budgets
from autoscaler.fleet.spec import Pace
from autoscaler.types import Instance, InstanceStatus, IntentState, NodeType, Offer, Trust
from tests.simulation.world import PACE, POLICY, TICK_S, World, per_hour

GPU = NodeType("gpu", {"GPU": 1}, max_count=4, clouds=("red", "blue"))


def world_of(node_type: NodeType = GPU, **options: Any) -> World:
    """Two clouds; red is the cheaper one."""
    world = World(["red", "blue"], [node_type], **options)
    world.clouds["blue"].price_usd_per_hour = 1.0
    return world


def bought_from(world: World, name: str) -> str | None:
    intent = world.intent(name)
    return intent.cloud if intent.state is IntentState.BOUGHT else None


def test_the_cheaper_cloud_is_taken_and_the_choice_explained() -> None:
    with world_of() as world:
        (name,) = world.launch()
        world.tick()
        assert bought_from(world, name) == "red"
        assert "buying one from red: took RTX 4090 of red (EU) at 0.74 USD/h" in world.events()
        assert "over RTX 4090 of blue (EU) at 1 USD/h" in world.events()


def test_a_listing_that_hangs_holds_up_neither_the_tick_nor_the_other_cloud() -> None:
    with world_of() as world:
        world.clouds["red"].faults.append(Fault.LISTING_SLOW)
        (name,) = world.launch()
        world.tick()
        assert bought_from(world, name) == "blue"
        assert "has not answered" in world.reconciler.fleet()["degraded"]["red"]
        assert world.clouds["red"].calls["list"] == 1, "a second question was asked while the first was open"
        world.tick(6)
        assert world.clouds["red"].calls["list"] > 1
        assert "red" not in world.reconciler.fleet()["degraded"]


def test_a_listing_that_hangs_makes_no_bill_of_the_other_cloud_longer() -> None:
    """The end is when the list that proves it was had, not when that of the other cloud was given up."""
    with world_of() as world:
        (name,) = world.launch()
        world.tick(2)
        world.reconciler.reports.joined(name)
        (machine,) = world.machines()
        world.flow()
        world.clouds["red"].vanish(machine.instance_id)
        world.clouds["blue"].faults.append(Fault.LISTING_SLOW)
        began = world.clock()
        world.tick()
        assert world.clock() - began >= PACE.patience_s
        world.tick()  # a second look has confirmed it
        assert world.intent(name).billed_s(world.clock()) == world.clouds["red"].billed_s[machine.instance_id]


def test_a_late_listing_says_nothing_of_what_was_bought_meanwhile() -> None:
    with world_of(policy=replace(POLICY, list_lag_s=0.0)) as world:
        world.tick()
        world.clouds["red"].slow_s = 8.0
        world.clouds["red"].faults.extend([Fault.LISTING_SLOW])
        (name,) = world.launch()
        world.tick()
        assert bought_from(world, name) == "blue"
        (second,) = world.launch()
        world.clouds["blue"].faults.append(Fault.LISTING_FAILS)
        world.tick(12)
        assert bought_from(world, second) is not None
        assert len(world.machines()) == 2


def test_a_purchase_that_hangs_holds_up_no_other() -> None:
    with world_of() as world:
        world.clouds["red"].faults.append(Fault.CREATED_SLOWLY)
        slow, other = world.launch(2)
        world.tick()
        states = {world.state(slow), world.state(other)}
        assert states == {IntentState.BUYING, IntentState.BOUGHT}
        world.tick(20)
        assert bought_from(world, slow) == bought_from(world, other) == "red"
        assert world.clouds["red"].created == 2


def test_a_call_that_is_given_up_is_told_as_one_without_an_answer() -> None:
    with world_of() as world:
        for name, fault in (("red", Fault.CREATED_SLOWLY), ("blue", Fault.LISTING_SLOW)):
            world.clouds[name].slow_s = 2 * PACE.purchase_timeout_s
            world.clouds[name].faults.append(fault)
        world.launch()
        world.tick(int(PACE.purchase_timeout_s / TICK_S) + 1)
        assert "red gave no clear answer (no answer in time)" in world.events()
        assert "blue: its list of instances cannot be had: no answer in time" in world.events()


@pytest.mark.parametrize("fault", [Fault.BALANCE_TOO_LOW, Fault.CREATE_RATE_LIMITED])
def test_a_cloud_that_refuses_leaves_the_purchase_to_the_others(fault: Fault) -> None:
    with world_of() as world:
        world.clouds["red"].faults.extend([fault] * 2)
        first, second = world.launch(2)
        world.tick(2)
        assert bought_from(world, first) == bought_from(world, second) == "blue"
        assert world.clouds["red"].calls["create"] == 2, "it was asked again"
        degraded = world.reconciler.fleet()["degraded"]["red"]
        assert ("STOPPED" in degraded and "402" in degraded) == (fault is Fault.BALANCE_TOO_LOW)


def test_without_balance_anywhere_queued_work_waits_with_the_reason_and_goes_on_once_it_is_mended() -> None:
    with world_of() as world:
        for cloud in world.clouds.values():
            cloud.faults.append(Fault.BALANCE_TOO_LOW)
        (name,) = world.launch()
        world.tick(60)
        assert world.state(name) is IntentState.WANTED
        assert "402: the balance is too low" in world.intent(name).reason
        (view,) = world.reconciler.fleet()["instances"]
        assert "402" in view["phase"]
        assert sum(cloud.calls["create"] for cloud in world.clouds.values()) == 2
        world.tick(250)
        assert bought_from(world, name) == "red"
        assert "red: answers as it should again" in world.events()
        assert "red" not in world.reconciler.fleet()["degraded"]


def test_a_revoked_key_stops_buying_dropping_and_sweeping_there_only() -> None:
    with world_of() as world:
        (held,) = world.launch()
        world.tick(5)
        world.clouds["red"].alive["stray"] = Instance("red", "stray", "c1-gpu-0", InstanceStatus.RUNNING, world.now, 1)
        world.clouds["red"].faults.extend([Fault.KEY_REFUSED] * 10)
        (name,) = world.launch()
        world.tick(10)
        assert bought_from(world, held) == "red"
        assert bought_from(world, name) == "blue"
        assert "stray" in world.clouds["red"].alive
        assert "STOPPED" in world.reconciler.fleet()["degraded"]["red"]
        world.tick(2)
        assert "stray" not in world.clouds["red"].alive


def test_a_cloud_that_asks_for_a_pause_gets_it() -> None:
    with world_of() as world:
        world.launch()
        world.tick(5)
        world.clouds["red"].faults.append(Fault.LISTING_RATE_LIMITED)
        world.tick()
        before = dict(world.clouds["red"].calls)
        (name,) = world.launch()
        world.tick(29)
        assert world.clouds["red"].calls == before
        assert bought_from(world, name) == "blue"
        assert "429" in world.reconciler.fleet()["degraded"]["red"]
        world.tick(2)
        assert world.clouds["red"].calls["list"] > before["list"]
        assert world.reconciler.fleet()["degraded"] == {}


def test_a_price_above_the_accepted_one_is_not_paid() -> None:
    with world_of() as world:
        world.clouds["red"].faults.append(Fault.CREATED_DEARER)
        (name,) = world.launch()
        world.tick(3)
        assert world.machines() == []
        ended = world.intent(name)
        assert "charged at 1.11 USD/h, accepted were 0.74" in ended.reason
        assert ended.price_usd_per_hour == pytest.approx(1.11)
        assert ended.accepted_usd_per_hour == 0.74
        assert ended.cost_usd(world.now) >= world.clouds["red"].bill_usd()
        (name,) = world.launch()
        world.tick()
        assert bought_from(world, name) == "blue", "the offer did not rest"


def test_an_id_without_a_machine_is_given_up_after_the_lag_and_its_offer_rests() -> None:
    with world_of() as world:
        world.clouds["red"].faults.append(Fault.CREATED_NOT)
        (name,) = world.launch()
        world.tick(10)
        assert world.state(name) is IntentState.BOUGHT
        world.tick(2)
        assert world.state(name) is IntentState.ENDED
        (name,) = world.launch()
        world.tick()
        assert bought_from(world, name) == "blue"


def test_a_machine_that_works_and_is_never_listed_is_ended_by_its_id() -> None:
    with world_of() as world:
        world.clouds["red"].list_lag_s = 1e9
        (name,) = world.launch()
        world.tick()
        world.reconciler.reports.joined(name)
        (machine,) = world.clouds["red"].alive
        world.tick(15)
        assert world.clouds["red"].alive == {}
        assert world.intent(name).reason == "it vanished from the cloud's list"
        assert world.clouds["red"].billed_s[machine] <= world.intent(name).billed_s(world.now)


def test_a_machine_that_says_which_it_is_settles_an_unclear_purchase_that_no_list_shows() -> None:
    """It ends before any list has shown it: it was billed all the same."""
    with world_of() as world:
        red = world.clouds["red"]
        red.list_lag_s, before = 1e9, world.now
        red.faults.append(Fault.CREATED_BUT_UNKNOWN)
        (name,) = world.launch()
        world.tick()
        (machine,) = red.alive
        assert (world.state(name), world.intent(name).instance_id) == (IntentState.BUYING, None)
        for strange in ("", "../v2/pods", "x" * 65):
            world.reconciler.reports.identified(name, strange)
        assert world.intent(name).instance_id is None
        world.reconciler.reports.identified(name, machine)
        world.reconciler.reports.identified(name, "another")
        assert (world.state(name), world.intent(name).instance_id) == (IntentState.BOUGHT, machine)
        red.vanish(machine)
        world.tick(15)
        assert world.state(name) is IntentState.ENDED
        assert world.intent(name).billed_s(world.now) >= red.billed_s[machine]
        assert world.now - before >= world.intent(name).billed_s(world.now)


def test_a_machine_cannot_claim_another_ones_id() -> None:
    with world_of() as world:
        world.clouds["red"].faults.append(Fault.CREATED_BUT_UNKNOWN)
        world.clouds["red"].list_lag_s = 1e9
        first, second = world.launch(2)
        world.tick()
        (unclear,) = [name for name in (first, second) if world.intent(name).instance_id is None]
        (clear,) = {first, second} - {unclear}
        world.reconciler.reports.identified(unclear, str(world.intent(clear).instance_id))
        assert world.intent(unclear).instance_id is None


def test_launches_that_never_join_end_in_a_pause_not_in_a_loop() -> None:
    policy = replace(POLICY, join_timeout_s=30.0, cool_down_s=0.0)
    with world_of(policy=policy) as world:
        world.clouds["red"].faults.extend([Fault.CREATED_DEAD] * 9)
        world.clouds["blue"].faults.extend([Fault.CREATED_DEAD] * 9)
        for _ in range(300):
            if not world.reconciler.demand.nodes():
                world.launch()
            world.tick()
        (waiting,) = world.reconciler.demand.nodes()
        assert "its last 4 machines never joined (it did not join within 30 s" in waiting.reason
        assert sum(cloud.created for cloud in world.clouds.values()) == 4
        world.tick(240)
        assert sum(cloud.created for cloud in world.clouds.values()) == 5


def test_a_worker_that_reports_a_driver_error_is_ended_and_its_machine_left_alone() -> None:
    offers = [
        Offer("red", f"o-{i}", "L4", 0.5, 20.0, "EU", Trust.COMMUNITY, machine_id=f"m-{i // 2}") for i in range(4)
    ]
    with world_of() as world:
        world.clouds["red"].offers = tuple(offers)
        (name,) = world.launch()
        world.tick()
        world.reconciler.reports.failed(name, "CUDA driver version is insufficient")
        world.tick(2)
        assert world.machines() == []
        assert world.intent(name).reason == "it reports: CUDA driver version is insufficient"
        (name,) = world.launch()
        world.tick()
        assert world.intent(name).offer_id == "o-2", "another offer of the same machine was taken"
        assert "CUDA driver" in str(world.reconciler.fleet()["holds"])


def test_two_launches_do_not_compete_for_one_machine() -> None:
    offers = [Offer("red", f"o-{i}", "L4", 0.5, 20.0, "EU", Trust.COMMUNITY, machine_id=f"m-{i}") for i in range(2)]
    with world_of() as world:
        world.clouds["red"].offers = tuple(offers)
        world.clouds["red"].faults.append(Fault.CREATED_SLOWLY)
        first, second = world.launch(2)
        world.tick(10)
        assert {world.intent(first).offer_id, world.intent(second).offer_id} == {"o-0", "o-1"}


def test_a_machine_that_nobody_claims_is_swept_and_said() -> None:
    with world_of() as world:
        world.clouds["blue"].alive["x"] = Instance("blue", "x", "c1-gpu-0", InstanceStatus.RUNNING, world.now, 1.0)
        world.tick(2)
        assert world.machines() == []
        assert "c1-gpu-0+x: ending x at blue: no launch claims it" in world.events()


def test_a_machine_that_nobody_claims_is_on_the_bill_and_nowhere_else() -> None:
    with world_of() as world:
        born, blue = world.now - 100.0, world.clouds["blue"]
        blue.alive["x"] = Instance("blue", "x", "c1-gpu-0", InstanceStatus.RUNNING, born, 3.6)
        blue.faults.extend([Fault.TERMINATE_FAILS] * 3)
        world.tick(2)
        fleet = world.reconciler.fleet()
        assert fleet["spending"]["scopes"]["blue"]["burn_usd_per_hour"] == 3.6
        assert world.reconciler.demand.nodes() == []
        world.tick(10)
        (stray,) = world.reconciler.fleet()["instances"]
        assert (stray["node_type"], stray["state"], stray["cloud"]) == ("unclaimed machine", "ended", "blue")
        assert blue.billed_s["x"] <= stray["billed_s"] <= blue.billed_s["x"] + 2 * TICK_S
        assert world.reconciler.fleet()["spending"]["scopes"]["blue"]["day_usd"] == pytest.approx(stray["cost_usd"])


def test_a_machine_that_comes_back_is_billed_once_for_each_of_its_seconds() -> None:
    """Its cloud's list omitted it for a while, so its launch was closed; and then once more."""
    with world_of() as world:
        world.launch()
        world.tick(2)
        (machine,) = world.machines()
        cloud = world.clouds[machine.cloud]
        for _ in range(2):
            cloud.alive.clear()
            world.tick(round(POLICY.list_lag_s) + 20)
            assert world.reconciler.demand.nodes() == []
            cloud.alive[machine.instance_id] = machine
            cloud.faults.append(Fault.TERMINATE_IGNORED)
            world.tick(1)
        world.tick(5)
        assert world.machines() == []
        counted = sum(i["billed_s"] for i in world.reconciler.fleet()["instances"])
        assert counted == pytest.approx(cloud.billed_s[machine.instance_id], abs=2 * TICK_S)


def test_an_hours_budget_bounds_what_runs_and_the_rest_waits_with_the_reason() -> None:
    with world_of(budgets=per_hour(1.75)) as world:
        names = world.launch(3)
        world.tick(30)
        assert sorted(bought_from(world, name) or "" for name in names) == ["", "red", "red"]
        (waiting,) = [name for name in names if bought_from(world, name) is None]
        assert "the budget of 1.75 USD per hour for all clouds leaves no room" in world.intent(waiting).reason
        assert world.events().count("leaves no room") == 1, "the same reason was written again and again"
        assert "1.48 of the 1.75 USD per hour for all clouds are used" in world.events()
        world.reconciler.demand.terminate([name for name in names if name != waiting][:1], "idle")
        world.tick(3)
        assert bought_from(world, waiting) == "red"


def test_ending_and_unseen_machines_keep_their_place_in_the_budget() -> None:
    with world_of(budgets=per_hour(0.8)) as world:
        (first,) = world.launch()
        world.tick(2)
        world.clouds["red"].faults.extend([Fault.TERMINATE_IGNORED] * 5)
        world.reconciler.demand.terminate([first], "idle")
        (second,) = world.launch()
        world.tick(5)
        assert world.state(second) is IntentState.WANTED
        world.clouds["red"].faults.extend([Fault.LISTING_FAILS] * 9)
        world.tick(9)
        assert world.state(second) is IntentState.WANTED
        world.tick(4)
        assert bought_from(world, second) == "red"


@pytest.mark.parametrize("drain", [False, True])
def test_a_days_budget_stops_buying_and_drains_if_configured(drain: bool) -> None:
    with world_of(budgets=Budgets(Budget(per_day_usd=1.0, drain=drain))) as world:
        (name,) = world.launch()
        world.tick()
        world.reconciler.reports.joined(name)
        world.tick(500, advance_s=10.0)
        spent = world.cloud.bill_usd()
        if drain:
            assert world.machines() == []
            assert "used up" in world.intent(name).reason
            assert 0.95 < spent <= 1.0
        else:
            assert len(world.machines()) == 1
        (second,) = world.launch()
        world.tick(3)
        assert world.state(second) is IntentState.WANTED
        assert "1 USD per day" in world.intent(second).reason
        world.reconciler.demand.terminate([name], "idle")
        world.tick(3)
        world.now += 86400.0
        world.tick(2)
        assert bought_from(world, second) == "red", "a new day has its own budget"


def test_what_was_spent_before_a_restart_counts() -> None:
    with world_of(budgets=Budgets(Budget(per_day_usd=0.3))) as world:
        (name,) = world.launch()
        world.tick()
        world.reconciler.reports.joined(name)
        world.tick(130, advance_s=10.0)
        world.reconciler.demand.terminate([name], "idle")
        world.tick(3)
        world.restart()
        (second,) = world.launch()
        world.tick(3)
        assert "0.3 USD per day" in world.intent(second).reason


def test_of_two_candidates_the_first_to_join_stays_and_the_other_is_ended() -> None:
    with world_of(replace(GPU, race=True)) as world:
        world.clouds["blue"].boot_s, world.clouds["red"].boot_s = 10.0, 40.0
        (name,) = world.launch()
        assert [i.name for i in world.reconciler.demand.nodes()] == [name]
        world.tick(3)
        assert sorted(m.cloud for m in world.machines()) == ["blue", "red"]
        world.tick(10)
        world.join_what_booted()
        (node,) = world.reconciler.demand.nodes()
        assert (node.rival_of, node.cloud) == (name, "blue")
        world.tick(3)
        assert [m.cloud for m in world.machines()] == ["blue"]
        assert world.intent(name).reason == f"{node.name} joined first"
        world.reconciler.demand.terminate([node.name], "idle")
        world.tick(3)
        assert world.machines() == []
        assert world.ledger.live() == []


def test_a_race_given_up_ends_both() -> None:
    with world_of(replace(GPU, race=True)) as world:
        (name,) = world.launch()
        world.tick(3)
        world.reconciler.demand.terminate([name], "no more work")
        world.tick(12)
        assert world.machines() == []
        assert world.ledger.live() == []


def test_when_one_candidate_breaks_the_other_takes_its_place() -> None:
    with world_of(replace(GPU, race=True)) as world:
        world.clouds["red"].faults.append(Fault.CREATED_BROKEN)
        (name,) = world.launch()
        world.tick(4)
        (node,) = world.reconciler.demand.nodes()
        assert (node.rival_of, node.cloud) == (name, "blue")
        world.tick(20)
        world.join_what_booted()
        assert [m.cloud for m in world.machines()] == ["blue"]


def test_calls_do_not_grow_with_the_machines_and_keep_the_clouds_pace() -> None:
    def calls(machines: int) -> int:
        pace = Pace({"red": 5.0, "blue": 5.0})
        with world_of(replace(GPU, max_count=machines), pace=pace) as world:
            world.launch(machines)
            world.tick(60)
            assert len(world.machines()) == machines
            before = sum(cloud.calls["list"] for cloud in world.clouds.values())
            world.tick(60)
            return sum(cloud.calls["list"] for cloud in world.clouds.values()) - before

    assert calls(1) == calls(30) == 24


def test_a_machine_that_is_given_up_does_not_wait_for_the_next_listing_in_turn() -> None:
    with world_of(pace=Pace({"red": 30.0, "blue": 30.0})) as world:
        (name,) = world.launch()
        world.tick(10)
        world.reconciler.demand.terminate([name], "idle")
        world.tick()
        assert world.machines() == []
        world.tick(2)
        assert world.state(name) is IntentState.ENDED, "its end was not looked for at once"
        (billed_s,) = world.clouds["red"].billed_s.values()
        assert world.intent(name).billed_s(world.now) - billed_s <= 2.0


def test_a_waiting_launch_asks_for_offers_at_a_bounded_rate() -> None:
    with world_of() as world:
        for cloud in world.clouds.values():
            cloud.faults.extend([Fault.NO_CAPACITY] * 2)
        world.launch()
        world.tick(50)
        assert world.clouds["red"].calls == {"list": 50, "offers": 5, "create": 1}


def test_a_boot_phase_is_shown_and_kept() -> None:
    with world_of() as world:
        (name,) = world.launch()
        world.tick(4)
        world.reconciler.reports.phase(name, "image up")
        (view,) = world.reconciler.fleet()["instances"]
        assert view["phases"] == {"image up": 4.0}
        assert view["phase"] == "its machine boots and joins (so far: image up)"
        world.tick(4)
        world.reconciler.reports.joined(name)
        assert world.intent(name).phases.keys() == {"image up", "Ray up"}


UNPRICED = [Fault.CREATED_UNPRICED, Fault.LISTING_UNPRICED]


@pytest.mark.parametrize("fault", UNPRICED)
def test_a_price_that_is_not_told_is_not_free(fault: Fault) -> None:
    """Six machines were bought once with a budget for one."""
    with world_of(replace(GPU, max_count=9), budgets=per_hour(1.0)) as world:
        for cloud in world.clouds.values():
            cloud.faults.extend([fault] * 60)
        names = world.launch(6)
        world.tick(60)
        assert len(world.machines()) == 1
        assert sum(world.state(name) is IntentState.WANTED for name in names) == 5
        assert sum(cloud.bill_usd() for cloud in world.clouds.values()) <= 1.0


def test_a_machine_that_nobody_claims_and_that_tells_no_price_counts_as_much_as_the_dearest_of_its_cloud() -> None:
    with world_of(budgets=per_hour(2.0)) as world:
        world.launch()
        world.tick(2)
        red = world.clouds["red"]
        red.alive["x"] = Instance("red", "x", "c1-gpu-00000000", InstanceStatus.RUNNING, None, 0.0)
        red.faults.extend([Fault.TERMINATE_IGNORED] * 9)
        world.tick(2)
        fleet = world.reconciler.fleet()
        assert fleet["spending"]["scopes"]["red"]["burn_usd_per_hour"] == pytest.approx(2 * 0.74)
        (stray,) = [i for i in fleet["instances"] if i["node_type"] == "unclaimed machine"]
        assert stray["price_usd_per_hour"] == pytest.approx(0.74)
        assert stray["cost_usd"] < 0.01, "a machine whose age is not told was billed from the beginning of time"


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("fault", [Fault.LISTING_EMPTY, Fault.LISTING_PARTIAL, Fault.LISTING_ODD])
def test_one_wrong_list_ends_none_of_many_machines(fault: Fault, restarted: bool) -> None:
    with world_of(replace(GPU, max_count=9)) as world:
        names = world.launch(6)
        world.tick(30)
        for name in names:
            world.reconciler.reports.joined(name)
        if restarted:
            world.restart()
        world.clouds["red"].faults.append(fault)
        world.tick(60)
        assert {world.state(name) for name in names} == {IntentState.BOUGHT}
        assert sum(cloud.created for cloud in world.clouds.values()) == len(world.machines()) == 6


def test_a_list_that_is_empty_for_a_while_ends_nothing_that_exists() -> None:
    with world_of() as world:
        (name,) = world.launch()
        world.tick(5)
        world.reconciler.reports.joined(name)
        world.clouds["red"].faults.extend([Fault.LISTING_EMPTY] * 300)
        world.tick(300)
        assert world.state(name) is IntentState.BOUGHT
        assert world.clouds["red"].calls["lookup"] <= 300 / POLICY.list_lag_s + 1
        assert "does not list it, though it exists" in world.events()


def test_what_vanishes_while_many_do_is_closed_soon() -> None:
    with world_of(replace(GPU, max_count=9)) as world:
        names = world.launch(9)
        world.tick(30)
        for machine in world.machines():
            world.clouds[machine.cloud].vanish(machine.instance_id)
        world.tick(5)
        assert {world.state(name) for name in names} == {IntentState.ENDED}


@pytest.mark.parametrize("fault", [Fault.CREATED_ELSEWHERE, Fault.CREATED_SMALLER])
def test_what_was_promised_holds_after_a_restart(fault: Fault) -> None:
    with world_of(replace(GPU, regions=("EU",))) as world:
        world.clouds["red"].faults.append(fault)
        world.clouds["red"].list_lag_s = 5.0
        (name,) = world.launch()
        world.tick()
        world.restart()
        world.tick(10)
        assert world.machines() == []
        assert world.intent(name).broken


def test_a_status_that_nobody_knows_is_kept_shown_and_bounded() -> None:
    with world_of() as world:
        world.clouds["red"].faults.extend([Fault.LISTING_STATUS_UNKNOWN] * 5000)
        (name,) = world.launch()
        world.tick(30)
        assert world.state(name) is IntentState.BOUGHT
        assert "hibernating" in world.reconciler.fleet()["degraded"]["red"]
        world.now += POLICY.join_timeout_s
        world.tick(3)
        assert world.machines() == []
