"""What a fake cloud does wrong on command."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Call = Literal["create", "list", "get", "terminate", "offers", "logs", "bill", "any"]
Quirk = Literal[
    "never_listed", "stuck", "no_runtime", "image_missing", "oci_error", "exits", "unknown", "offline", "stopped",
    "misplaced", "refused_contract", "community", "no_gpu", "other_gpu",
]  # fmt: skip
# How the rows of an answer are spoiled: the first one, every other one or all.
Spoil = Literal[
    "empty", "half", "twice", "stranger", "unnamed", "no id", "no price", "price 0", "price as text", "price NaN",
    "price negative", "price absent", "not created", "status null", "status unknown", "wrong types",
]  # fmt: skip


class Strict(BaseModel):
    """A body in which every key must be known."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(Strict):
    """An answer in place of the API's own."""

    status: int
    body: str = ""
    content_type: str = "application/json"
    headers: dict[str, str] = {}


class Fault(Strict):
    """Goes wrong in the next `times` calls of a kind.

    `done`: what is asked for is done all the same. `cut`: the connection breaks within the answer. `hang_s`: seconds
    before the answer. `quirk`: how the machine behaves that the call creates. `spoil`: what is wrong with the rows
    that the call lists.
    """

    on: Call
    times: int = 1
    done: bool = False
    answer: Answer | None = None
    cut: bool = False
    hang_s: float = 0.0
    quirk: Quirk | None = None
    spoil: Spoil | None = None
    price_factor: float = 1.0


class Faults:
    """Those that are still to happen, in their order."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """To happen after those that wait."""
        self._waiting.append(fault.model_copy())

    def clear(self) -> None:
        """All is well from now on."""
        self._waiting.clear()

    def take(self, call: Call) -> Fault | None:
        """What goes wrong with this call."""
        for fault in self._waiting:
            if fault.on in (call, "any"):
                fault.times -= 1
                if fault.times <= 0:
                    self._waiting.remove(fault)
                return fault
        return None
