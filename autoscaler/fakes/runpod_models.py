"""RunPod's bodies: requests in which every key must be known, the pod as it is shown, and rate limits."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from autoscaler.fakes.account import Account, Machine
from autoscaler.fakes.faults import Strict

# Calls and seconds of each window of its rate limits, as published.
_WINDOWS = {"minute": (60, 60), "hour": (3_000, 3_600), "day": (50_000, 86_400)}
Version = Annotated[str, Field(pattern=r"^\d+\.\d+$")]
Tier = Literal["SECURE", "COMMUNITY"]
_ACTIONS = {"RUNNING": ["stop", "restart", "terminate"], "EXITED": ["start", "terminate"]}
# USD per hour, secure and community, as published between March and November 2026; 0: not sold there.
PRICES = {
    "NVIDIA RTX A4000": ("RTX A4000", 16, 0.25, 0.17),
    "NVIDIA L4": ("L4", 24, 0.44, 0.0),
    "NVIDIA GeForce RTX 4090": ("RTX 4090", 24, 0.74, 0.44),
    "NVIDIA L40S": ("L40S", 48, 0.79, 0.0),
    "NVIDIA A100 80GB PCIe": ("A100 PCIe", 80, 1.79, 1.19),
    "NVIDIA H100 PCIe": ("H100 PCIe", 80, 2.89, 1.99),
    "AMD Instinct MI300X OAM": ("MI300X", 192, 0.1, 0.1),
}
CENTRES = {"US-KS-2": "US Kansas 2", "EU-RO-1": "EU Romania 1", "EU-CZ-1": "EU Czechia 1", "EUR-IS-1": "Iceland 1"}
CUDA_VERSIONS = ("12.4", "12.8", "13.0")


class GpuRequest(Strict):
    """`count` may be left out, and then the cloud says that it has none."""

    id: str
    count: Annotated[int, Field(ge=1)] | None = None
    allowedCudaVersions: list[Version] = []
    minCudaVersion: Version | None = None


class PersistentMount(Strict):
    size: Annotated[int, Field(ge=10)]
    path: str


class NetworkMount(Strict):
    volumeId: str
    path: str


class Mounts(Strict):
    persistent: PersistentMount | None = None
    network: Annotated[list[NetworkMount], Field(max_length=1)] | None = None


class CreatePod(Strict):
    """The body of POST /v2/pods, for GPU pods."""

    name: Annotated[str, Field(min_length=1)]
    image: str
    gpu: GpuRequest
    cloud: Tier = "SECURE"
    dataCenterIds: list[str] = []
    disk: Annotated[int, Field(ge=1)] = 20
    env: dict[str, str] = {}
    args: str = ""
    ports: list[str] = []
    mounts: Mounts = Mounts()
    registry: str | None = None
    globalNetworking: bool = False
    startSsh: bool = False
    startJupyter: bool = False


class PodAction(Strict):
    action: Literal["start", "stop", "restart", "terminate"]


def delivered(body: CreatePod, quirk: str | None) -> dict[str, Any]:
    """In what the pod differs from what was asked for."""
    wrong: dict[str, dict[str, Any]] = {
        "community": {"cloud": "COMMUNITY"},
        "no_gpu": {"gpu": {"id": body.gpu.id, "count": 0}},
        "other_gpu": {"gpu": {"id": "NVIDIA RTX A2000", "count": body.gpu.count}},
    }
    return dict(wrong.get(quirk or "", {}))


def status_of(account: Account, machine: Machine) -> str:
    """The pod's status by its age and what ails it."""
    age_s, behaviour = account.age_s(machine), account.behaviour
    if age_s < behaviour.provision_s or machine.quirk == "stuck":
        return "PROVISIONING"
    if age_s < behaviour.provision_s + behaviour.start_s or machine.quirk == "image_missing":
        return "STARTING"
    return "EXITED" if machine.quirk == "exits" else "RUNNING"


def pod_view(account: Account, machine: Machine) -> dict[str, Any]:
    """A pod as GET shows it, its env included."""
    status, request = status_of(account, machine), machine.request
    started_at = machine.created_at + account.behaviour.provision_s
    running = status == "RUNNING" and machine.quirk != "no_runtime"
    return {
        "id": machine.machine_id,
        "name": machine.name,
        "status": status,
        "actions": _ACTIONS.get(status, ["stop", "terminate"]),
        "image": request["image"],
        "args": request["args"],
        "disk": request["disk"],
        "mounts": {name: mount for name, mount in request["mounts"].items() if mount is not None},
        "ports": request["ports"],
        "env": request["env"],
        "registry": request["registry"],
        "gpu": {"id": request["gpu"]["id"], "count": request["gpu"]["count"]},
        "cloud": request["cloud"],
        "dataCenterId": None if status == "PROVISIONING" else request["placed"],
        "cudaVersion": CUDA_VERSIONS[-1],
        "ssh": {"proxy": None, "direct": None},
        "template": None,
        "cost": 0.0 if status == "EXITED" else round(machine.price_usd_per_hour, 4),
        "locked": False,
        "globalNetworking": {"enabled": False},
        "runtime": {"uptime": int(account.now() - started_at), "ports": []} if running else None,
        "createdAt": _iso(machine.created_at),
        "startedAt": _iso(started_at) if status in ("RUNNING", "EXITED") else None,
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


@dataclass
class RateWindows:
    """Counts the calls of one user in fixed windows."""

    _used: dict[tuple[str, int], int] = field(default_factory=dict)
    _day_used: int = 0

    def call(self, now: float) -> tuple[dict[str, str], bool]:
        """Count one call. Returns the headers of its answer, and whether it is refused."""
        keys = {name: (name, int(now // seconds)) for name, (_quota, seconds) in _WINDOWS.items()}
        left = {name: quota - self._used.get(keys[name], 0) for name, (quota, _seconds) in _WINDOWS.items()}
        refused = min(left.values()) <= 0
        if not refused:
            self._used = {key: self._used.get(key, 0) + 1 for key in keys.values()}
        resets = {name: seconds - int(now) % seconds for name, (_quota, seconds) in _WINDOWS.items()}
        remaining = {name: max(0, count - (not refused)) for name, count in left.items()}
        headers = {
            "RateLimit": ", ".join(f'"{name}";r={remaining[name]};t={resets[name]}' for name in _WINDOWS),
            "RateLimit-Policy": ", ".join(f'"{name}";q={q};w={w}' for name, (q, w) in _WINDOWS.items()),
        }
        if refused:
            headers["Retry-After"] = str(min(resets[name] for name in _WINDOWS if left[name] <= 0))
        return headers, refused

    def limits(self, account: Account) -> tuple[dict[str, str], bool]:
        """As `call`, by the account's behaviour; nothing is limited where it has no limits."""
        if account.behaviour.day_calls_left is not None:
            return self.call_of_day(account.behaviour.day_calls_left)
        return self.call(account.now()) if account.behaviour.rate_limits else ({}, False)

    def call_of_day(self, left: int) -> tuple[dict[str, str], bool]:
        """As `call`, while `left` calls were left of a day when this was first asked, and the day lasts."""
        refused = self._day_used >= left
        self._day_used += not refused
        headers = {"RateLimit": f'"minute";r=50;t=30, "day";r={left - self._day_used};t=39995'}
        return headers | ({"Retry-After": "39995"} if refused else {}), refused
