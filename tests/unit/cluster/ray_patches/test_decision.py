"""Which patches apply: by setting, by release, by check; one that fails takes no other along, and no start."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.ray_patches.decision import ALL, APPLIED, OFF_REASON, apply_at, decide, warnings
from cluster.ray_patches.patch import Node, Patch, Place
from cluster.ray_patches.ray_source import installed
from cluster.ray_patches.registry import PATCH_NAMES
from cluster.ray_patches.required_settings import REQUIRED
from tests.unit.cluster.ray_patches.moved_ray import VERSION, MovedRay

TOLD = {
    "gcs_path": "/gcs",
    "join_window_s": 900.0,
    "grace_s": 600.0,
    "drain_s": 120.0,
    "instance_id": "i",
    "node_type": "gpu",
}
TOLD |= {"prestarted_workers": 2}


@pytest.fixture
def moved(tmp_path: Path) -> MovedRay:
    return MovedRay(tmp_path)


def wanted_on(node: Node) -> list[str]:
    return [patch.name for patch in ALL if node in patch.nodes]


@pytest.mark.parametrize("node", list(Node))
def test_on_a_ray_that_is_as_it_was_all_apply(node: Node, moved: MovedRay) -> None:
    decision = decide("auto", (), node, moved.source())
    assert decision.names() == wanted_on(node)
    assert (decision.stock, decision.doubts) == ({}, {})


@pytest.mark.parametrize("node", list(Node))
def test_off_leaves_only_what_is_needed_and_nobody_is_warned(node: Node, moved: MovedRay) -> None:
    decision = decide("off", (), node, moved.source())
    assert decision.names() == [patch.name for patch in REQUIRED if node in patch.nodes]
    assert set(decision.stock.values()) == {OFF_REASON}
    assert warnings("off", (), moved.source()) == []
    environment = decision.environment(**TOLD)
    assert "cluster.ray_patches" not in " ".join(environment.values()), "code of ours would run in Ray's processes"
    assert environment["RAY_enable_autoscaler_v2"] == "1"


@pytest.mark.parametrize("version", ["2.61.0", "2.59.0", "3.0.0.dev0", ""])
def test_a_release_on_which_nothing_was_proved_runs_as_it_is_and_the_operator_is_told(
    version: str, moved: MovedRay
) -> None:
    moved.replace(VERSION, 'version = "2.60.0"', f'version = "{version}"')
    for node in Node:
        decision = decide("auto", (), node, moved.source())
        assert decision.names() == [patch.name for patch in REQUIRED if node in patch.nodes]
    (warning,) = warnings("auto", (), moved.source())
    assert all(name in warning for name in PATCH_NAMES)
    assert f"proved on Ray 2.60, and this is {version or 'unknown'}" in warning


def test_a_later_patch_release_is_proved_too(moved: MovedRay) -> None:
    moved.replace(VERSION, 'version = "2.60.0"', 'version = "2.60.1"')
    assert warnings("auto", (), moved.source()) == []


def test_a_check_that_fails_disables_its_patch_alone(moved: MovedRay) -> None:
    moved.replace("serve/_private/controller.py", "asyncio.sleep(CONTROL_LOOP_INTERVAL_S)", "asyncio.sleep(0.1)")
    decision = decide("auto", (), Node.HEAD, moved.source())
    assert decision.names() == [name for name in wanted_on(Node.HEAD) if name != "serve_pacing"]
    assert "RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH" not in decision.environment(**TOLD)
    (warning,) = warnings("auto", (), moved.source())
    assert warning.startswith("Ray runs without the patch serve_pacing: ServeController.run_control_loop in ray/serve")


def test_a_needed_setting_that_ray_may_not_obey_stays_and_says_what_follows(moved: MovedRay) -> None:
    moved.replace("_private/ray_constants.py", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "RAY_OTHERWISE")
    for mode in ("auto", "off"):
        decision = decide(mode, (), Node.WORKER, moved.source())
        assert decision.environment(**TOLD)["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == "120"
        (warning,) = warnings(mode, (), moved.source())
        assert "Ray may not obey drain_deadline: Ray knows no RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S; then" in warning


def test_single_patches_can_be_left_out(moved: MovedRay) -> None:
    decision = decide("auto", ("steady_clock",), Node.HEAD, moved.source())
    assert decision.stock == {"steady_clock": "ray.without_patches names steady_clock"}
    assert "RAY_preload_python_modules" not in decision.environment(**TOLD)
    assert warnings("auto", ("steady_clock",), moved.source()) == []


def test_ray_that_is_not_there_at_all_fails_no_decision(tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    moved = MovedRay(tmp_path / "ray")
    moved.root.rename(tmp_path / "elsewhere")
    assert decide("auto", (), Node.HEAD, moved.source()).names() == [p.name for p in REQUIRED if Node.HEAD in p.nodes]
    assert len(warnings("auto", (), moved.source())) == 1 + len(REQUIRED)


def test_a_node_is_told_its_values(moved: MovedRay) -> None:
    environment = decide("auto", (), Node.GPU_WORKER, moved.source()).environment(**TOLD)
    assert environment["RAY_gcs_rpc_server_reconnect_timeout_s"] == "600"
    assert environment["RAY_CLOUD_INSTANCE_ID"] == "i"
    assert environment["AIMA_PRESTARTED_WORKERS"] == "2"
    assert environment[APPLIED].split(",") == wanted_on(Node.GPU_WORKER)
    assert not any("{" in value for value in environment.values())


applied: list[str] = []


def first() -> None:
    raise AttributeError("module 'ray' has no attribute 'moved'")


def second() -> None:
    applied.append("second")


def test_a_patch_that_cannot_be_applied_is_left_out_of_its_process(caplog: pytest.LogCaptureFixture) -> None:
    def patch(name: str, place: Place) -> Patch:
        return Patch(name, (Node.HEAD,), "p", "b", "i", "w", apply=f"{__name__}:{name}", at=(place,))

    patches = [patch("first", Place.AUTOSCALER), patch("no_such", Place.AUTOSCALER), patch("second", Place.AUTOSCALER)]
    others = [patch("first", Place.RAY_START)]
    applied.clear()
    with caplog.at_level(logging.WARNING):
        apply_at(Place.AUTOSCALER, {APPLIED: "first,no_such,second"}, [*patches, *others])
    assert applied == ["second"]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "Ray patch first does not apply in autoscaler",
        "Ray patch no_such does not apply in autoscaler",
    ]
    apply_at(Place.AUTOSCALER, {}, patches)
    apply_at(Place.AUTOSCALER, {APPLIED: "first"}, patches[2:])
    assert applied == ["second"], "what the node does not apply is applied nowhere"


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_rays_command_line_starts_with_its_patches_and_without(mode: str) -> None:
    decision = decide(mode, (), Node.HEAD)
    command = decision.ray_command()
    assert ("cluster.ray_patches.ray_start" in command) == (mode == "auto")
    done = subprocess.run(
        [*command, "--version"],
        env=os.environ | decision.environment(**TOLD),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert f"version {installed().version}" in done.stdout
    assert command[0] == sys.executable
    assert "does not apply" not in done.stderr
