"""Every patch fits the installed Ray, and each of its checks fails on a Ray that has moved."""

import itertools
import re
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from cluster.config.schema import RaySettings
from cluster.ray_patches.checks import Check, Contains, Unchanged
from cluster.ray_patches.decision import ALL, decide, warnings
from cluster.ray_patches.patch import PROVED_BUILDS, PROVED_RELEASES, Node, Patch
from cluster.ray_patches.ray_source import RaySource, installed
from cluster.ray_patches.registry import PATCHES
from cluster.ray_patches.required_settings import REQUIRED
from tests.unit.cluster.ray_patches.moved_ray import MovedRay

CHECKS = [(patch, check) for patch in ALL for check in patch.checks]
VARIABLES = [(patch, name) for patch in ALL for name in patch.variables if not name.startswith("AIMA_")]


@pytest.fixture
def moved(tmp_path: Path, request: pytest.FixtureRequest) -> MovedRay:
    """As much of Ray as the test's patch looks at."""
    asked = getattr(request.node, "callspec", None)
    return MovedRay(tmp_path, [asked.params["patch"]] if asked else ALL)


def stock_of(patch: Patch, ray: RaySource) -> str:
    """Why the patch is left out, or doubted, on its nodes."""
    decision = decide("auto", (), patch.nodes[0], ray, [patch])
    assert (patch.name in decision.names()) == (patch.needed or patch.name not in decision.stock)
    return {**decision.stock, **decision.doubts}.get(patch.name, "")


def test_the_installed_ray_has_been_proved() -> None:
    assert installed().release in PROVED_RELEASES
    assert installed()._constant("commit") in PROVED_BUILDS
    assert warnings("auto", ()) == []


@pytest.mark.parametrize("patch", ALL, ids=lambda patch: patch.name)
def test_every_name_is_found_in_the_installed_ray_and_its_programs(patch: Patch) -> None:
    searched = RaySource(installed().root)  # knows no build whose programs it need not search
    assert patch.why_not(searched) == ""


@pytest.mark.parametrize("patch", ALL, ids=lambda patch: patch.name)
def test_a_patch_says_what_it_is_for(patch: Patch) -> None:
    assert all((patch.process, patch.buys, patch.instead, patch.without, patch.nodes))
    assert patch.needed or re.search(r"\d|half|not measured", patch.buys), "what it buys has no figure"
    assert patch.checks or patch.read_by, "nothing would tell that Ray has moved"
    assert bool(patch.apply) == bool(patch.at)
    if patch.apply:
        module, _, function = patch.apply.partition(":")
        assert callable(getattr(import_module(module), function))


def test_names_are_unique_and_no_two_patches_of_a_node_set_the_same_variable() -> None:
    assert len({patch.name for patch in ALL}) == len(ALL)
    for node in Node:
        of_node = [patch for patch in ALL if node in patch.nodes]
        names = list(itertools.chain.from_iterable(patch.variables for patch in of_node))
        assert len(names) == len(set(names))


def test_what_is_needed_replaces_nothing() -> None:
    assert all(patch.needed and not patch.apply for patch in REQUIRED)
    assert not any(patch.needed for patch in PATCHES)


def test_a_copy_of_ray_is_fit_by_all(moved: MovedRay) -> None:
    assert warnings("auto", (), moved.source()) == []


@pytest.mark.parametrize(("patch", "name"), VARIABLES, ids=[f"{patch.name}-{name}" for patch, name in VARIABLES])
def test_a_variable_that_ray_does_not_know_any_more(patch: Patch, name: str, moved: MovedRay) -> None:
    known = name.removeprefix("RAY_")
    for file in patch.read_by:
        moved.rename(file, known)
    assert stock_of(patch, moved.source()) == f"Ray knows no {name}"


@pytest.mark.parametrize(("patch", "check"), CHECKS, ids=[f"{p.name}-{c.file}" for p, c in CHECKS])
def test_a_file_that_is_gone(patch: Patch, check: Check, moved: MovedRay) -> None:
    moved.remove(check.file)
    assert check.file in check.why_not(moved.source())
    assert stock_of(patch, moved.source())


@pytest.mark.parametrize(
    ("patch", "check", "fragment"),
    [(patch, check, text) for patch, check in CHECKS if isinstance(check, Contains) for text in check.fragments],
)
def test_a_text_that_is_gone(patch: Patch, check: Contains, fragment: str, moved: MovedRay) -> None:
    moved.replace(check.file, fragment, "")
    assert "has no" in check.why_not(moved.source())
    assert stock_of(patch, moved.source())


@pytest.mark.parametrize(("patch", "check"), [(p, c) for p, c in CHECKS if isinstance(c, Unchanged)])
def test_a_function_that_has_changed(patch: Patch, check: Unchanged, moved: MovedRay) -> None:
    last = moved.source().definition(check.file, check.name).splitlines()[-1]
    moved.replace(check.file, f"\n{last}\n", f"\n{last}  # and something else\n")
    assert f"{check.name} in ray/{check.file} has changed" in check.why_not(moved.source())
    assert stock_of(patch, moved.source())
    moved.rename(check.file, check.name.rpartition(".")[2])
    assert check.why_not(moved.source()) == f"ray/{check.file} has no {check.name}"


def test_the_settings_accept_each_patch_by_its_name() -> None:
    assert RaySettings(without_patches=tuple(patch.name for patch in PATCHES)).patches == "auto"
    assert set(get_args(RaySettings.model_fields["patches"].annotation)) == {"auto", "off"}


# Documented by Ray, or set by it for the pods of KubeRay.
PUBLIC = {"RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_USAGE_STATS_ENABLED"}
ROOT = Path(import_module("cluster").__file__ or "").parents[1]


def test_nothing_else_touches_rays_private_parts() -> None:
    """The node provider's client of the GCS is a leaf that must not import this room; its parts are registered here."""
    registered = {name for patch in ALL for name in patch.variables}
    registered |= {text.strip('"') for _, check in CHECKS if isinstance(check, Contains) for text in check.fragments}
    for room in ("autoscaler", "cluster", "pipelines", "serve_apps"):
        for path in (ROOT / room).rglob("*.py"):
            text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
            if name.startswith("cluster/ray_patches/"):
                continue
            assert set(re.findall(r"\bRAY_[A-Za-z_0-9]+", text)) <= registered | PUBLIC, name
            if name != "autoscaler/ray_gcs.py":
                assert not re.search(r"\bray\.[\w.]*\b_\w|ray\._raylet|ray\.experimental", text), name
