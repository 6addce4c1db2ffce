"""Rows of a good answer that are not as published: lists and catalogues on command."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autoscaler.fakes.faults import Spoil

Row = dict[str, Any]


@dataclass(frozen=True)
class Fields:
    """What the cloud calls the fields that are spoiled."""

    instance_id: str
    name: str
    status: str
    created_at: str
    price: str


def spoiled(rows: list[Row], how: Spoil, fields: Fields) -> list[Any]:
    """The rows, spoiled."""
    if how == "empty":
        return []
    if how == "half":
        return rows[::2]
    if how == "twice":
        return [*rows, *rows]
    if how == "stranger":
        return [_stranger(rows, fields), 7, None, [], *rows]
    change = _CHANGES[how](fields)
    return [{key: value for key, value in {**row, **change}.items() if value is not _ABSENT} for row in rows]


class _Absent:
    """In place of a value: the field is left out."""


_ABSENT = _Absent()
_CHANGES: Mapping[str, Callable[[Fields], Row]] = {
    "unnamed": lambda f: {f.name: ["no", "name"]},
    "no id": lambda f: {f.instance_id: None},
    "no price": lambda f: {f.price: None, "price": None},
    "price 0": lambda f: {f.price: 0},
    "price as text": lambda f: {f.price: "a lot"},
    "price NaN": lambda f: {f.price: "NaN"},
    "price negative": lambda f: {f.price: -1.0},
    "price absent": lambda f: {f.price: _ABSENT},
    "not created": lambda f: {f.created_at: None},
    "status null": lambda f: {f.status: None},
    "status unknown": lambda f: {f.status: "HIBERNATING"},
    "wrong types": lambda f: {
        f.status: {"state": 7},
        f.created_at: ["yesterday"],
        f.price: {"usd": 1},
        "gpu": [],
        "runtime": 7,
        "dataCenterId": 5,
        "cloud": None,
        "machine_id": {},
        "gpu_name": 7,
        "num_gpus": "some",
        "geolocation": 5,
        "status_msg": 7,
        "intended_status": 7,
        "price": "dear",
        "memory": None,
        "maxCount": _ABSENT,
    },
}


def _stranger(rows: list[Row], fields: Fields) -> Row:
    """Somebody else's row, in which nothing is as published."""
    odd: Row = {
        fields.instance_id: {},
        fields.name: None,
        fields.status: 7,
        fields.created_at: None,
        fields.price: "dear",
    }
    return {**(rows[0] if rows else {}), **odd}
