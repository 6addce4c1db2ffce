"""What hub and spoke tell each other beside the streams: one JSON object per line.

spoke -> hub   first an Enrolment, then {"report": {...}} whenever the machine has come further
hub -> spoke   first {"grant": {...}} or {"refused": "why"}, then {"peers": [...]} whenever nodes come or go, and
               {"end": "why"} when the machine is to end itself, because its cloud does not end it
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

# What an SSH client asks for to speak this.
COMMAND = "aima-node-1"


class ControlError(ValueError):
    """The other side does not keep to the protocol."""


@dataclass(frozen=True)
class Enrolment:
    """A machine presents itself: its public key, and the network namespace whose loopback ports it has."""

    public_key: str
    machine: str


def encode(message: Mapping[str, Any]) -> str:
    """One line."""
    return json.dumps(message, separators=(",", ":")) + "\n"


def encode_enrolment(enrolment: Enrolment) -> str:
    """The spoke's first line."""
    return encode(asdict(enrolment))


def decode(line: str) -> dict[str, Any]:
    """The message of one line. Raises ControlError."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise ControlError(f"not JSON: {line[:80]!r}") from None
    if not isinstance(message, dict):
        raise ControlError(f"not an object: {line[:80]!r}")
    return message


def decode_enrolment(line: str) -> Enrolment:
    """The spoke's first line, read. Raises ControlError."""
    message = decode(line)
    key, machine = message.get("public_key"), message.get("machine")
    if not (isinstance(key, str) and isinstance(machine, str) and len(key) < 512 and len(machine) < 128):
        raise ControlError("an enrolment has a public_key and a machine")
    return Enrolment(key, machine)
