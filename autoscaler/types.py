"""The autoscaler's nouns. A Node is Ray's, an Instance is the cloud's, an Offer is for sale."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

# The node type of machines that are ours and that no launch claims. The space keeps it apart from configured ones.
STRAY = "unclaimed machine"


class Trust(StrEnum):
    """Whose machine it is: our own cluster's, a data centre's, or a stranger's."""

    OWN = "own"
    SECURE = "secure"
    COMMUNITY = "community"


@dataclass(frozen=True)
class NodeType:
    """A kind of worker that Ray may ask for, and the need that offers of all its clouds compete to meet.

    `resources` are Ray's (CPU, GPU). Empty tuples allow everything; `trust` is the least that will do; `regions` are
    "EU", country codes or a cloud's own names; `min_cuda` is "12.8"-like. Local machines are taken as they are.
    `gpu_vendor` is who makes the GPU, by whose runtime the image works; `expected_work_s`: for how long after its boot
    a machine must still be for rent; `min_download_mbps`: megabits a second; `max_transfer_usd_per_gib`: up or down.
    `race` buys two candidates for every launch: the first to join stays, the other is ended.
    """

    name: str
    resources: Mapping[str, float]
    max_count: int
    clouds: tuple[str, ...]
    gpu_names: tuple[str, ...] = ()
    gpu_memory_gib: float = 0.0
    min_vcpus_per_gpu: float = 8.0
    min_reliability: float = 0.0
    disk_gib: int = 20
    min_cuda: str = ""
    regions: tuple[str, ...] = ()
    trust: Trust = Trust.COMMUNITY
    max_price_usd_per_hour: float | None = None
    race: bool = False
    gpu_vendor: str = "nvidia"
    expected_work_s: float = 1800.0
    min_download_mbps: float = 100.0
    max_transfer_usd_per_gib: float | None = 0.05


# What a machine is taken to pull and to send in its life, where that is billed: layers of the image and media, results.
DOWNLOAD_GIB, UPLOAD_GIB = 4.0, 0.5


@dataclass(frozen=True)
class Offer:
    """Something a cloud sells now. Prices are per hour of the whole machine, in USD; bandwidth per GiB down and up.

    `machine_id` names the host where the cloud tells it, so that a broken one can be left alone; `availability` is how
    likely the purchase succeeds and `reliability` how likely the machine stays, both 0 to 1. `available_s`: how long it
    is still for rent. `gpu_vendor` is "" and `download_mbps` None where the cloud does not tell.
    `gpu_id` is the name under which the cloud lists the GPU of what it sold, where that differs from `gpu_name`.
    """

    cloud: str
    offer_id: str
    gpu_name: str | None
    price_usd_per_hour: float
    usual_boot_s: float
    region: str
    trust: Trust
    gpu_count: int = 1
    gpu_memory_gib: float = 0.0
    storage_usd_per_hour: float = 0.0
    bandwidth_usd_per_gib: float = 0.0
    availability: float = 1.0
    reliability: float = 1.0
    machine_id: str | None = None
    gpu_id: str = ""
    gpu_vendor: str = ""
    available_s: float = float("inf")
    download_mbps: float | None = None
    upload_usd_per_gib: float = 0.0

    @property
    def transfer_usd(self) -> float:
        """What is taken to be billed for transfers, once."""
        return self.bandwidth_usd_per_gib * DOWNLOAD_GIB + self.upload_usd_per_gib * UPLOAD_GIB

    @property
    def full_usd_per_hour(self) -> float:
        """What it bills while it runs, storage included."""
        return self.price_usd_per_hour + self.storage_usd_per_hour


@dataclass(frozen=True)
class Equipment:
    """What a machine starts with. `environment` holds no secret but a one-time token."""

    environment: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    start_command: tuple[str, ...] = ()


@dataclass(frozen=True)
class LaunchRequest:
    """What a cloud is asked for. `name` is unique for ever: what carries it can be found again after any crash.

    `image` and `start_command` are for clouds that run containers; `environment` holds no secret but a one-time token.
    """

    name: str
    node_type: NodeType
    offer: Offer
    environment: Mapping[str, str]
    max_age_s: float
    image: str = ""
    start_command: tuple[str, ...] = ()


class InstanceStatus(StrEnum):
    """What the cloud's listing says. UNKNOWN is a status that AIMA does not know: the machine may work."""

    PENDING = "pending"
    RUNNING = "running"
    TERMINATING = "terminating"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Traits:
    """What a cloud says of a machine that it has sold; empty or None where it says nothing.

    `region` is the cloud's own name of the place, `country` an ISO 3166 alpha-2 code.
    """

    region: str = ""
    country: str = ""
    trust: Trust | None = None
    gpu: str = ""
    gpu_count: int | None = None


@dataclass(frozen=True)
class Promise:
    """What a machine was bought for: what its cloud says of it may not contradict this. Empty promises nothing."""

    regions: tuple[str, ...] = ()
    trust: Trust | None = None
    gpu: str = ""
    gpu_count: int = 0


@dataclass(frozen=True)
class Instance:
    """A machine in a cloud's listing. `created_at` is unix seconds, None where the cloud does not say.

    The price includes storage, in USD per hour; 0 also stands for one that the cloud does not tell.
    """

    cloud: str
    instance_id: str
    name: str
    status: InstanceStatus
    created_at: float | None
    price_usd_per_hour: float
    detail: str = ""
    machine_id: str | None = None
    traits: Traits = Traits()


@dataclass(frozen=True)
class SkippedRow:
    """A row of a cloud's answer that could not be read; `name` and `instance_id` where they could."""

    what: str
    why: str
    name: str = ""
    instance_id: str = ""

    def __str__(self) -> str:
        known = " ".join(part for part in (self.name, self.instance_id) if part)
        return f"{self.what} {known}: {self.why}" if known else f"{self.what}: {self.why}"


@dataclass(frozen=True)
class Listing:
    """A cloud's complete list as of the moment (unix seconds) at which it was asked for: it tells nothing of later.

    `answered_at` (unix seconds): by then what it omits had ended, and a bill goes no further. `news` is False when
    decisions were already made on it: then it only shows that the cloud can be watched. `skipped`: rows that could not
    be read, so that what they may stand for is not taken for absent.
    """

    instances: tuple[Instance, ...]
    as_of: float
    answered_at: float
    news: bool = True
    skipped: tuple[SkippedRow, ...] = ()


@dataclass(frozen=True)
class Activity:
    """What Ray says of a node: whether any CPU, GPU or custom resource is in use, and why it calls the node busy."""

    in_use: bool
    reasons: tuple[str, ...] = ()


# The phase of a node that takes no new work: it ends when its work has, or a bounded time later.
DRAINING = "draining"


class IntentState(StrEnum):
    """The life of one launch, from the wish to the proof that nothing is billed."""

    WANTED = "wanted"  # written down, nothing bought
    BUYING = "buying"  # written ahead; the purchase is under way or its outcome unknown
    BOUGHT = "bought"
    ENDING = "ending"  # not wanted any more, counted as billed until a good listing omits it
    ENDED = "ended"
    FAILED = "failed"


@dataclass(frozen=True)
class Intent:
    """One launch. Times are unix seconds; `tags` are Ray's and come back unchanged.

    `answered_at`: when the purchase call ended, well or not; a cloud may list what it sold some time after that.
    `accepted_usd_per_hour` is the price at which it was bought, `price_usd_per_hour` the dearest of that one and all
    that the cloud has listed since: it counts. `promise`: what else the machine was bought for.
    `phases`: phase -> when it was reached, DRAINING too. `rival_of`: the launch whose other candidate this is.
    `ending_at`: since when it is to end. `listed_at`: when a list of its cloud first showed it: one that omits it later
    proves its end, however lately it was bought. `broken`: the machine or its cloud was to blame for the end.
    """

    name: str
    node_type: str
    state: IntentState
    wanted_at: float
    tags: Mapping[str, str] = field(default_factory=dict)
    cloud: str | None = None
    offer_id: str | None = None
    instance_id: str | None = None
    price_usd_per_hour: float | None = None
    usual_boot_s: float | None = None
    buying_at: float | None = None
    answered_at: float | None = None
    bought_at: float | None = None
    joined_at: float | None = None
    ended_at: float | None = None
    reason: str = ""
    gpu_name: str | None = None
    region: str | None = None
    machine_id: str | None = None
    accepted_usd_per_hour: float | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    rival_of: str | None = None
    broken: bool = False
    ending_at: float | None = None
    listed_at: float | None = None
    promise: Promise = Promise()
    transfer_usd: float | None = None

    @property
    def stray(self) -> bool:
        """Whether it stands for a machine that no launch claims: billed like any other until it has ended."""
        return self.node_type == STRAY

    @property
    def live(self) -> bool:
        """Whether a machine exists, may exist, or is to be bought."""
        return self.state not in (IntentState.ENDED, IntentState.FAILED)

    @property
    def billed_since(self) -> float | None:
        """When its bill began (unix seconds); None without one."""
        return self.bought_at or (self.buying_at if self.state is IntentState.ENDING else None)

    def billed_s(self, now: float) -> float:
        """Seconds billed until `now`: from the purchase to the good listing that omits it."""
        return 0.0 if self.billed_since is None else max(0.0, (self.ended_at or now) - self.billed_since)

    def cost_usd(self, now: float) -> float:
        """What those seconds cost, and what its transfers are taken to cost."""
        transfer = 0.0 if self.billed_since is None else self.transfer_usd or 0.0
        return self.billed_s(now) / 3600 * (self.price_usd_per_hour or 0.0) + transfer
