"""What a patch of Ray is: values, and no Ray."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cluster.ray_patches.checks import Check
from cluster.ray_patches.ray_source import RaySource

# The releases ("major.minor") on which every patch was proved, and the builds whose programs were searched for the
# names of their settings (tests/unit/cluster/ray_patches searches them again).
PROVED_RELEASES = ("2.60",)
PROVED_BUILDS = ("b7f4259e944bf6959f721b106adc366ddfa0c356",)


class Node(StrEnum):
    """On which of Ray's nodes a patch is wanted."""

    HEAD = "head"
    WORKER = "worker"
    GPU_WORKER = "GPU worker"


class Place(StrEnum):
    """A process of Ray in which code of ours runs and applies patches."""

    RAY_START = "ray start"
    AUTOSCALER = "autoscaler"
    HEAD_PYTHON = "Serve's processes and other Python workers on the head"


WORKERS = (Node.WORKER, Node.GPU_WORKER)
EVERY_NODE = tuple(Node)


@dataclass(frozen=True)
class Patch:
    """One difference from stock Ray.

    `variables` are set in the environment of the node's processes; their values may name what a node is told, such as
    {grace_s}. `read_by` are the files of Ray that must name each of them. `apply` is the function ("module:function")
    that is called in the processes `at`, before Ray's own code. A patch that AIMA `needs` is a setting without which
    it breaks its promises: it stays with `ray.patches: off`, and on a Ray on which it was not proved.
    """

    name: str
    nodes: tuple[Node, ...]
    process: str  # whose behaviour changes, for people
    buys: str  # with the measurement, or that there is none
    instead: str  # the public way, and why it does not do
    without: str  # what stock Ray does
    variables: Mapping[str, str] = field(default_factory=dict)
    read_by: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    apply: str = ""
    at: tuple[Place, ...] = ()
    needed: bool = False

    def why_not(self, ray: RaySource) -> str:
        """Why this Ray is not as the patch needs it; "" if it is."""
        if unknown := ray.unknown(tuple(self.variables), self.read_by):
            return f"Ray knows no {', '.join(unknown)}"
        return next((why for check in self.checks if (why := check.why_not(ray))), "")
