"""Vast.ai's list, page by page and row by row: contracts as instances."""

import re
from collections.abc import Mapping
from typing import Any

from autoscaler.clouds.rows import excerpt, identifier, mapping, moment, number, text, whole
from autoscaler.clouds.vastai.market import country_of
from autoscaler.errors import ListingFailed
from autoscaler.types import Instance, InstanceStatus, SkippedRow, Traits

_MAX_SAID = 2_000
# Null is what a new one has, and so has one whose host does not report. Published as beyond recovery: exited, unknown
# and offline. A stopped one's disk bills on, and nobody will start it again.
_STATUS = {
    "created": InstanceStatus.PENDING,
    "loading": InstanceStatus.PENDING,
    "rebooting": InstanceStatus.PENDING,
    "running": InstanceStatus.RUNNING,
    "exited": InstanceStatus.FAILED,
    "unknown": InstanceStatus.FAILED,
    "offline": InstanceStatus.FAILED,
    "stopped": InstanceStatus.FAILED,
}
# What its daemon says of a container that will never run.
_HOPELESS = re.compile(r"OCI runtime|error response from daemon|toomanyrequests|pull access denied", re.IGNORECASE)


def page_of(body: Mapping[str, Any]) -> list[Any]:
    """The contracts of a page; null stands for none only where it counts none. Raises ListingFailed for all else."""
    contracts, good = body.get("instances"), body.get("success", True) is True
    if good and isinstance(contracts, list):
        return contracts
    if good and contracts is None and whole(body.get("total_instances")) == 0 and body.get("next_token") is None:
        return []
    raise ListingFailed(f"vastai lists no instances, not even none: {excerpt(dict(body))}")


def unidentified(contract: object) -> SkippedRow | None:
    """Why it cannot be told which machine this is and whose, or None. Without a label it is nobody's of ours."""
    row = mapping(contract)
    label, instance_id = row.get("label"), identifier(row.get("id"))
    if isinstance(contract, dict) and instance_id and (label is None or isinstance(label, str)):
        return None
    return SkippedRow("contract", f"its id or label cannot be read: {excerpt(contract)}", text(label), instance_id)


def daemon_says(contract: Mapping[str, Any]) -> str:
    """What its host's daemon says of it."""
    said = contract.get("status_msg")
    return said.strip()[:_MAX_SAID] if isinstance(said, str) else ""


def instance_of(contract: Mapping[str, Any]) -> Instance:
    """A contract whose id and label can be read; what else cannot be read is unknown."""
    status, told = _status(contract, daemon_says(contract))
    machine_id, country = identifier(contract.get("machine_id")), text(contract.get("country_code"))
    return Instance(
        cloud="vastai",
        instance_id=identifier(contract["id"]),
        name=contract["label"],
        status=status,
        created_at=moment(contract.get("start_date")),
        price_usd_per_hour=number(contract.get("dph_total")) or 0.0,
        detail=told,
        machine_id=machine_id or None,
        traits=Traits(
            country=country or country_of(text(contract.get("geolocation"))),
            gpu=text(contract.get("gpu_name")),
            gpu_count=whole(contract.get("num_gpus")),
        ),
    )


def _status(contract: Mapping[str, Any], said: str) -> tuple[InstanceStatus, str]:
    """The status, and how Vast puts it unless it runs."""
    state = contract.get("actual_status")
    status = _STATUS.get(state, InstanceStatus.UNKNOWN) if isinstance(state, str) else InstanceStatus.UNKNOWN
    told = f"Vast calls it {state if isinstance(state, str) else excerpt(state)}{f': {said[:200]}' if said else ''}"
    coming = status in (InstanceStatus.PENDING, InstanceStatus.UNKNOWN)
    if (coming and _HOPELESS.search(said)) or contract.get("intended_status") == "stopped":
        return InstanceStatus.FAILED, told
    return status, "" if status is InstanceStatus.RUNNING else told
