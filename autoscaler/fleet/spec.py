"""What a fleet is and by which rules it is run: values that the settings give and nothing changes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from autoscaler.decisions.budget import Budgets
from autoscaler.decisions.decide import Policy
from autoscaler.decisions.quarantine import Breaker
from autoscaler.types import Equipment, NodeType, Offer


@dataclass(frozen=True)
class Spec:
    """Whose machines they are, of which types, and what each starts with: `equip` is given a launch's name.

    `forbids`: why nothing may be bought now, for a reason outside the fleet, or "".
    """

    cluster_id: str
    node_types: Sequence[NodeType]
    equip: Callable[[str, NodeType, Offer], Equipment]
    forbids: Callable[[], str] = lambda: ""


@dataclass(frozen=True)
class Pace:
    """How clouds and the ledger are asked, in seconds.

    `list_every_s`: cloud -> between two listings (0: with every tick). `patience_s`: how long a tick waits for what is
    slow before it goes on without. `call_timeout_s`: when a call is given up; `purchase_timeout_s`: when a purchase is,
    from when on it is unclear what was bought. `offers_fresh_s`: how long offers are reused. `stopped_retry_s`: how
    soon a cloud that refuses altogether is tried again. `ledger_timeout_s`: how long a purchase waits until its record
    is on disk. `end_retry_s`: the longest from one attempt to end a machine to the next. `self_end_after_s`: how long a
    machine may be ending before it is told, too, to end itself.
    """

    list_every_s: Mapping[str, float] = field(default_factory=dict)
    patience_s: float = 2.0
    call_timeout_s: float = 20.0
    purchase_timeout_s: float = 65.0
    offers_fresh_s: float = 10.0
    stopped_retry_s: float = 300.0
    ledger_timeout_s: float = 5.0
    end_retry_s: float = 30.0
    self_end_after_s: float = 60.0


@dataclass(frozen=True)
class Rules:
    """When to buy and when to end (`policy`), for how much (`budgets`), how often to ask, and when to pause."""

    policy: Policy = field(default_factory=Policy)
    budgets: Budgets = field(default_factory=Budgets)
    pace: Pace = field(default_factory=Pace)
    breaker: Breaker = field(default_factory=Breaker)
