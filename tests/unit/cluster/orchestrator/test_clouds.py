"""From settings to clouds: what is made, with which key, and what is refused."""

from pathlib import Path

import pytest

from autoscaler.clouds import fake
from autoscaler.decisions.budget import Budget
from autoscaler.errors import KeyRefused
from autoscaler.types import Trust
from cluster.config.schema import (
    BudgetSettings,
    LimitSettings,
    NodeTypeSettings,
    OverlaySettings,
    ScalingSettings,
    Settings,
)
from cluster.orchestrator.cloud_factory import (
    access_variables,
    budgets,
    cloud_names,
    node_types,
    pace,
    policy,
    providers,
    unreachable,
)
from cluster.orchestrator.ledger_file import LedgerFacts, OpenEntry


def zero() -> float:
    return 0.0


def rented(*clouds: str, **values: object) -> Settings:
    shape = NodeTypeSettings.model_validate({"clouds": clouds or ("runpod", "vastai")} | values)
    overlay = OverlaySettings(enabled=True, image="aima-worker")
    return Settings(node_types={"gpu": shape, "here": NodeTypeSettings()}, overlay=overlay)


def test_every_need_reaches_the_autoscaler() -> None:
    needs = {
        "gpu_names": ("RTX 4090",),
        "gpu_memory_gib": 20.0,
        "min_vcpus_per_gpu": 6.0,
        "min_reliability": 0.9,
        "disk_gib": 40,
        "min_cuda": "12.8",
        "regions": ("EU",),
        "trust": "secure",
        "max_price_usd_per_hour": 0.8,
        "race": True,
        "max_count": 3,
    }
    gpu = node_types(rented(**needs))[0]
    assert gpu.trust is Trust.SECURE
    for name, value in needs.items():
        assert getattr(gpu, name) == value


def test_clouds_are_made_with_their_keys_and_roots(tmp_path: Path) -> None:
    environment = {"RUNPOD_API_KEY": "r", "VAST_API_KEY": "v", "RUNPOD_API_BASE_URL": "http://127.0.0.1:1"}
    settings = rented("kubernetes", "vastai", "runpod")
    names = ("kubernetes", "local", "runpod", "vastai")
    assert cloud_names(settings) == names
    made = providers(settings, "c1", environment, tmp_path, zero, lambda: fake.Provider(clock=zero, name="local"))
    assert {name: cloud.name for name, cloud in made.items()} == {name: name for name in names}
    assert vars(vars(made["runpod"])["_rest"])["_client"].base_url == "http://127.0.0.1:1"


def test_without_a_key_it_says_where_one_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(KeyRefused, match=r"set RUNPOD_API_KEY, or run `runpod config`"):
        providers(rented(), "c1", {}, tmp_path, zero, lambda: fake.Provider(clock=zero))


def test_a_missing_key_keeps_nothing_else_from_being_looked_after(tmp_path: Path) -> None:
    """While something is open: the cloud without a key is shown as one that cannot be asked."""
    entry = OpenEntry("aima-1-gpu-01234567", "runpod", "pod-1", 0.74)
    for facts in (LedgerFacts(frozenset({"runpod"}), (entry,)), LedgerFacts(unreadable="locked")):
        made = providers(rented(), "c1", {"VAST_API_KEY": "v"}, tmp_path, zero, lambda: fake.Provider(zero), facts)
        assert unreachable(made) == {"runpod"}
        assert set(made) == {"local", "runpod", "vastai"}


def test_clouds_with_something_open_are_looked_after_whatever_the_settings_name(tmp_path: Path) -> None:
    entry = OpenEntry("aima-1-gpu-01234567", "vastai", "1", 0.74)
    key = {"VAST_API_KEY": "v"}
    for facts in (LedgerFacts(frozenset({"vastai"}), (entry,)), LedgerFacts(unreadable="damaged")):
        made = providers(Settings(), "c1", key, tmp_path, zero, lambda: fake.Provider(zero), facts)
        assert set(made) == {"local", "vastai"}
        rules = policy(Settings(), made)
        assert (rules.retired, rules.unreachable) == ({"vastai"}, set())
    closed = LedgerFacts(frozenset({"vastai"}))
    assert set(providers(Settings(), "c1", key, tmp_path, zero, lambda: fake.Provider(zero), closed)) == {"local"}


def test_only_what_opens_clouds_is_handed_on() -> None:
    environment = {"RUNPOD_API_KEY": "r", "RUNPOD_API_BASE_URL": "u", "VAST_API_KEY": "v", "AWS_SECRET_ACCESS_KEY": "s"}
    assert access_variables(environment).keys() == {"RUNPOD_API_KEY", "RUNPOD_API_BASE_URL", "VAST_API_KEY"}


def test_budgets_have_limits_unless_told_otherwise() -> None:
    unset = budgets(Settings())
    assert unset.total.per_day_usd is not None
    own = BudgetSettings(per_day_usd=None, drain=True, clouds={"runpod": LimitSettings(per_hour_usd=1.0)})
    made = budgets(Settings(budgets=own))
    assert (made.total.per_day_usd, made.total.drain) == (None, True)
    assert made.clouds == {"runpod": Budget(per_hour_usd=1.0, drain=True)}
    slow = budgets(Settings(scaling=ScalingSettings(drain_s=300)))
    assert slow.total.ending_s == unset.total.ending_s + 180, "what may still be done there is paid within the limit"


def test_rented_clouds_are_asked_within_their_rate_limits_and_given_time_to_list() -> None:
    for cloud in ("runpod", "vastai"):
        per_hour = 3600 / pace().list_every_s[cloud]
        assert per_hour < 3000 / 2, "RunPod allows 3,000 calls an hour"
        assert policy(Settings()).lag_s(cloud) > policy(Settings()).lag_s("local")
