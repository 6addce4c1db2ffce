"""Vast.ai's bodies: requests in which every key must be known, the machines for rent, and the instance as shown."""

import operator
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from autoscaler.fakes.account import Account, Machine
from autoscaler.fakes.faults import Strict

_PER_GB_MONTH = 0.15
_MACHINES_OF_A_KIND = 10
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "in": lambda value, wanted: value in wanted,
    "notin": lambda value, wanted: value not in wanted,
}
# What a search may say besides filters on an offer's own fields.
_NO_FILTERS = ("limit", "order", "allocated_storage", "type")
# gpu, MB, vCPUs, USD/h, place, in a data centre, reliability, CUDA
_FOR_RENT = (
    ("RTX 3090", 24_576, 12.0, 0.16, "Bulgaria, BG", 0, 0.991, 12.4),
    ("RTX 4090", 24_564, 16.0, 0.29, "Texas, US", 0, 0.984, 12.8),
    ("RTX 4090", 24_564, 24.0, 0.34, "Czechia, CZ", 0, 0.996, 12.8),
    ("RTX 4090", 24_564, 32.0, 0.41, "Sweden, SE", 1, 0.999, 13.0),
    ("RTX 4090", 24_564, 6.0, 0.25, "Poland, PL", 0, 0.990, 12.8),
    ("L40S", 46_068, 32.0, 0.52, "Norway, NO", 1, 0.998, 12.8),
    ("A100 PCIE", 81_920, 32.0, 0.83, "Quebec, CA", 1, 0.997, 12.6),
    ("H100 SXM", 81_559, 48.0, 1.87, "France, FR", 1, 0.999, 13.0),
)
# Cheap, and for good reasons: another maker's GPU, minutes left for rent, a slow link, dear transfers either way.
BAD_BARGAINS: tuple[dict[str, Any], ...] = (
    {"gpu_name": "RX 7900 XTX", "gpu_arch": "amd", "cuda_max_good": 0.0},
    {"duration": 60.0},
    {"inet_down": 20.0},
    {"inet_down_cost": 2.0},
    {"inet_up_cost": 2.0},
)


class Rent(Strict):
    """The body of PUT /v0/asks/{id}/."""

    image: str
    label: str | None = None
    disk: float = 8.0
    runtype: Literal["ssh", "jupyter", "args", "ssh_proxy", "ssh_direct", "jupyter_proxy", "jupyter_direct"] = "ssh"
    target_state: Literal["running", "stopped"] = "running"
    price: Annotated[float, Field(ge=0.001, le=128.0)] | None = None
    env: str = ""
    cancel_unavail: bool = True
    onstart: Annotated[str, Field(max_length=4048)] = ""
    args: list[str] = []
    args_str: str = ""

    def command(self) -> list[str]:
        """What the container runs."""
        return self.args or shlex.split(self.args_str)

    def variables(self) -> dict[str, str]:
        """The environment in Docker's flags."""
        words = shlex.split(self.env)
        pairs = [value for flag, value in zip(words[::2], words[1::2], strict=True) if flag == "-e"]
        return dict(pair.split("=", 1) for pair in pairs)


def offers() -> Iterator[dict[str, Any]]:
    """Everything for rent: each kind of machine ten times, each machine once."""
    kinds: list[tuple[Any, dict[str, Any]]] = [(kind, {}) for kind in _FOR_RENT for _ in range(_MACHINES_OF_A_KIND)]
    kinds += [((*_FOR_RENT[3][:3], 0.1, *_FOR_RENT[3][4:]), odd) for odd in BAD_BARGAINS]
    for number, ((gpu, memory, vcpus, usd, place, centre, reliability, cuda), odd) in enumerate(kinds):
        yield {
            "id": 5_000_001 + number,
            "ask_contract_id": 5_000_001 + number,
            "machine_id": 7_001 + number,
            "host_id": 801 + number,
            "gpu_name": gpu,
            "gpu_arch": "nvidia",
            "duration": 2_592_000.0,
            "inet_down": 900.0,
            "gpu_ram": memory,
            "num_gpus": 1,
            "cpu_cores_effective": vcpus,
            "dph_base": usd,
            "inet_down_cost": 0.002,
            "inet_up_cost": 0.004,
            "storage_cost": _PER_GB_MONTH,
            "disk_space": 500.0,
            "geolocation": place,
            "hosting_type": centre,
            "datacenter": centre == 1,
            "reliability": reliability,
            "cuda_max_good": cuda,
            "verified": True,
            "rentable": True,
            "rented": False,
            "is_bid": False,
        } | odd


def found(offer: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    """Whether an offer meets the search's filters. Raises KeyError on a filter or operator that there is not."""
    filters = {name: tests for name, tests in query.items() if name not in _NO_FILTERS}
    return all(
        _OPERATORS[op](_value(offer, name), wanted) for name, test in filters.items() for op, wanted in test.items()
    )


def priced(offer: Mapping[str, Any], disk_gb: float) -> dict[str, Any]:
    """The offer with its price for a disk of that size."""
    return {**offer, "dph_total": round(offer["dph_base"] + disk_gb * _PER_GB_MONTH / 730, 6)}


def _value(offer: Mapping[str, Any], name: str) -> Any:
    value = offer[name]
    return value.rsplit(", ", 1)[-1] if name == "geolocation" else value


def state_of(account: Account, machine: Machine) -> tuple[str | None, str]:
    """The instance's status by its age and what ails it, and what its host's daemon says."""
    image, quirk = machine.request["image"], machine.quirk
    if quirk == "stuck":
        return None, ""
    if quirk == "image_missing":
        return "loading", "Error response from daemon: toomanyrequests: You have reached your pull rate limit."
    if quirk == "oci_error":
        return "created", "OCI runtime create failed: nvidia-container-cli: initialization error: driver error"
    age_s, behaviour = account.age_s(machine), account.behaviour
    if age_s < behaviour.provision_s:
        return "created", ""
    if age_s < behaviour.provision_s + behaviour.start_s:
        return "loading", f"Pulling {image}"
    if quirk in ("exits", "unknown", "offline", "stopped"):
        return {"exits": "exited"}.get(quirk, quirk), ""
    return "running", f"success, running {image}"


def instance_view(account: Account, machine: Machine) -> dict[str, Any]:
    """An instance as the list shows it."""
    status, said = state_of(account, machine)
    offer, quirk = machine.request["offer"], machine.quirk
    return {
        "id": int(machine.machine_id),
        "label": machine.name,
        "actual_status": status,
        "cur_state": "running",
        "next_state": "running",
        "intended_status": "running",
        "status_msg": said or None,
        "image_uuid": machine.request["image"],
        "image_args": machine.request["args"],
        "image_runtype": machine.request["runtype"],
        "machine_id": offer["machine_id"],
        "host_id": offer["host_id"],
        "gpu_name": "RTX A2000" if quirk == "other_gpu" else offer["gpu_name"],
        "num_gpus": 0 if quirk == "no_gpu" else 1,
        "geolocation": "Texas, US" if quirk == "misplaced" else offer["geolocation"],
        "start_date": machine.created_at,
        "dph_base": offer["dph_base"],
        "dph_total": machine.price_usd_per_hour,
        "is_bid": False,
        "reliability2": offer["reliability"],
    }
