"""Which patches apply on a node, why the others do not, and how its processes learn of it."""

import importlib
import logging
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.ray_patches.patch import PROVED_BUILDS, PROVED_RELEASES, Node, Patch, Place
from cluster.ray_patches.ray_source import RaySource, installed
from cluster.ray_patches.registry import PATCHES
from cluster.ray_patches.required_settings import REQUIRED

# `ray`, and what stands in its place where a patch needs that.
_RAY, _OURS = "ray.scripts.scripts", "cluster.ray_patches.ray_start"
_THROUGH_OURS = {Place.RAY_START, Place.AUTOSCALER}
# The names of the patches that apply, with commas between them: how a node tells its processes.
APPLIED = "AIMA_APPLIED_PATCHES"
OFF_REASON = "ray.patches: off"
ALL = (*REQUIRED, *PATCHES)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decision:
    """Of one node: the patches that apply, and by name why others do not; `doubts` are of patches that stay."""

    applied: tuple[Patch, ...]
    stock: dict[str, str]
    doubts: dict[str, str]

    def names(self) -> list[str]:
        """Of the patches that apply."""
        return [patch.name for patch in self.applied]

    def ray_command(self) -> list[str]:
        """In place of `ray` in `ray start`."""
        ours = any(_THROUGH_OURS & set(patch.at) for patch in self.applied)
        return [sys.executable, "-m", _OURS if ours else _RAY]

    def environment(self, **told: Any) -> dict[str, str]:
        """The variables of the node's processes. `told` fills in the values that depend on the node."""
        variables = {name: value for patch in self.applied for name, value in patch.variables.items()}
        return {APPLIED: ",".join(self.names()), **{name: value.format(**told) for name, value in variables.items()}}


def decide(
    mode: str,
    without: Sequence[str],
    node: Node,
    ray: RaySource | None = None,
    patches: Sequence[Patch] = ALL,
) -> Decision:
    """`mode` and `without` are the settings ray.patches and ray.without_patches. Looks at Ray's files only."""
    ray = ray or installed(PROVED_BUILDS)
    applied, stock, doubts = [], {}, {}
    for patch in patches:
        if node not in patch.nodes:
            continue
        if patch.needed:
            if why := patch.why_not(ray):
                doubts[patch.name] = why
            applied.append(patch)
        elif why := _chosen(patch, mode, without) or _unproved(ray) or patch.why_not(ray):
            stock[patch.name] = why
        else:
            applied.append(patch)
    return Decision(tuple(applied), stock, doubts)


def warnings(
    mode: str, without: Sequence[str], ray: RaySource | None = None, patches: Sequence[Patch] = ALL
) -> list[str]:
    """What an operator has not asked for: patches that do not apply, and needed settings that Ray may not obey.

    Of all kinds of nodes: Ray is the same release on all of them.
    """
    ray = ray or installed(PROVED_BUILDS)
    by_reason, doubts = defaultdict[str, list[str]](list), dict[str, str]()
    decisions = [decide(mode, without, node, ray, patches) for node in Node]
    for name, why in {name: why for decision in decisions for name, why in decision.stock.items()}.items():
        if mode != "off" and name not in without:
            by_reason[why].append(name)
    for decision in decisions:
        doubts |= decision.doubts
    found = {patch.name: patch for patch in patches}
    return [
        *(f"Ray runs without {_listed(names)}: {why}" for why, names in by_reason.items()),
        *(f"Ray may not obey {name}: {why}; then {found[name].without}" for name, why in doubts.items()),
    ]


def apply_at(place: Place, environment: Mapping[str, str] = os.environ, patches: Sequence[Patch] = PATCHES) -> None:
    """Apply in this process what its node applies here. A patch that fails is left out, and said in the log."""
    names = environment.get(APPLIED, "").split(",")
    for patch in patches:
        if place not in patch.at or patch.name not in names:
            continue
        try:
            module, _, function = patch.apply.partition(":")
            getattr(importlib.import_module(module), function)()
        except Exception as error:
            _log.warning("Ray patch %s does not apply in %s: %s: %s", patch.name, place, type(error).__name__, error)


def _chosen(patch: Patch, mode: str, without: Sequence[str]) -> str:
    if mode == "off":
        return OFF_REASON
    return f"ray.without_patches names {patch.name}" if patch.name in without else ""


def _unproved(ray: RaySource) -> str:
    if ray.release in PROVED_RELEASES:
        return ""
    return f"the patches were proved on Ray {', '.join(PROVED_RELEASES)}, and this is {ray.version or 'unknown'}"


def _listed(names: Sequence[str]) -> str:
    return f"the patch {names[0]}" if len(names) == 1 else f"the patches {', '.join(names)}"
