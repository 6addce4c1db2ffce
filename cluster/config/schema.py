"""Everything a cluster can be told, as frozen values. What reads them from files and variables is loader.py."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from autoscaler.types import Trust
from cluster.config.contradictions import contradictions
from cluster.config.request_settings import (
    AnalysisSettings,
    Frozen,
    MediaSettings,
    ModelSettings,
    RetentionSettings,
)
from cluster.ray_patches.registry import PATCH_NAMES
from pipelines.logs import Format, Level

CloudName = Literal["local", "runpod", "vastai", "kubernetes"]
# Their machines are strangers' containers behind NAT.
RENTED: tuple[CloudName, ...] = ("runpod", "vastai")

# Between the making of a join token and the moment from which join_timeout_s counts lie the purchase, at most a minute,
# and a list that shows late what an unclear answer has bought.
_PURCHASE_S = 300.0


LOOPBACK = ("127.0.0.1", "localhost", "::1")


class NodeTypeSettings(Frozen):
    """A kind of worker: what Ray may place on it, how many may be bought at most, and what a rented machine needs.

    Offers of all its clouds compete. Empty lists allow everything; machines of this cluster are taken as they are.
    One without GPUs serves the CPU lane only.
    """

    cpus: Annotated[float, Field(gt=0)] = 4.0
    gpus: Annotated[float, Field(ge=0)] = 1.0
    max_count: Annotated[int, Field(ge=0, le=300)] = 2
    clouds: Annotated[tuple[CloudName, ...], Field(min_length=1)] = ("local",)
    gpu_names: tuple[str, ...] = ()
    gpu_memory_gib: Annotated[float, Field(ge=0)] = 0.0
    min_vcpus_per_gpu: Annotated[float, Field(ge=0)] = 8.0
    min_reliability: Annotated[float, Field(ge=0, le=1)] = 0.0
    disk_gib: Annotated[int, Field(ge=1)] = 20
    # The CUDA version that the driver must support at least, such as "12.8".
    min_cuda: Annotated[str, Field(pattern=r"^(\d+\.\d+)?$")] = ""
    # "EU", country codes such as DE, or a cloud's own names of places.
    regions: tuple[str, ...] = ()
    # Whose machine it may be at least: community (a stranger's), secure (a data centre's) or own.
    trust: Trust = Trust.COMMUNITY
    max_price_usd_per_hour: Annotated[float, Field(gt=0)] | None = None
    # Buy two candidates for every launch: the first to join stays, the other is ended.
    race: bool = False
    # An offer must still be for rent for its boot and so long: a machine that its host takes back after minutes has
    # cost its boot for nothing, and its work begins again elsewhere.
    expected_work_s: Annotated[float, Field(ge=0)] = 1800.0
    # Megabits a second: at 100, an image of 7 GB takes the ten minutes within which a machine has to join.
    min_download_mbps: Annotated[float, Field(ge=0)] = 100.0
    # What a host may ask for a GiB, up or down, on top of its hourly price; null for no limit. A machine moves some
    # 5 GiB: at 0.05 that is 0.25 USD, as much as half an hour of a GPU.
    max_transfer_usd_per_gib: Annotated[float, Field(ge=0)] | None = 0.05


class HttpSettings(Frozen):
    """Where the API listens. Port 0 takes one from the head's own port block."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    # The longest request for an analysis, in MiB: it is parsed in memory. 1000 presigned URLs take 8.
    max_submission_mib: Annotated[int, Field(ge=1)] = 10
    # The largest picture that is analysed in one call; others are uploads, in parts.
    max_image_mib: Annotated[int, Field(ge=1)] = 32
    # Who sends nothing of a body for so long has gone.
    body_silence_s: Annotated[float, Field(gt=0)] = 30.0


class ScalingSettings(Frozen):
    """When workers come and go."""

    idle_limit_s: Annotated[float, Field(ge=1)] = 5.0
    segment_s: Annotated[float, Field(ge=1, le=600)] = 60.0
    media_s_per_worker: Annotated[float, Field(gt=0)] = 300.0
    # From the purchase on: a machine that has not joined by then is ended. See join_window_s.
    join_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    max_age_s: Annotated[float, Field(gt=0)] = 6 * 3600.0
    # A worker none of whose resources is in use this long is ended, even if Ray calls it busy.
    unused_limit_s: Annotated[float, Field(gt=0)] = 120.0
    # How long the work of a worker may go on that is to go and takes no more.
    drain_s: Annotated[float, Field(ge=0)] = 120.0
    # An offer that failed or was gone is not tried again for this long.
    cool_down_s: Annotated[float, Field(ge=0)] = 30.0

    @property
    def join_window_s(self) -> float:
        """From the making of a join token to the last moment at which its machine may join.

        Whoever waits for a machine waits as long: its token is valid, and Ray does not ask for another one meanwhile.
        """
        return self.join_timeout_s + _PURCHASE_S


class RaySettings(Frozen):
    """Whether Ray runs with the patches of cluster/ray_patches/registry.py, which save memory, CPU time and seconds.

    `auto`: on the releases of Ray on which they were proved, each as long as its check passes; elsewhere stock Ray,
    and a warning. `off`: stock Ray, on the head and on workers. `without_patches` leaves single ones out, to measure
    what one buys or because it does harm.
    """

    patches: Literal["auto", "off"] = "auto"
    without_patches: tuple[str, ...] = ()

    @field_validator("patches", mode="before")
    @classmethod
    def _yaml_reads_off_as_false(cls, value: object) -> object:
        return "off" if value is False else value

    @field_validator("without_patches")
    @classmethod
    def _patches_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in PATCH_NAMES]:
            raise ValueError(f"there is no patch {unknown[0]}; there are {', '.join(PATCH_NAMES)}")
        return names


class LogSettings(Frozen):
    """What the processes write to their logs: text for people or JSON lines for machines, from which level on."""

    format: Format = "text"
    level: Level = "info"


class TracingSettings(Frozen):
    """OpenTelemetry: the OTLP/HTTP address of a collector, such as http://collector:4318; unset, nothing is traced.

    `sample`: the share of requests that are traced, of those whose caller has not decided. Needs aima-media[tracing].
    """

    endpoint: str = ""
    sample: Annotated[float, Field(ge=0, le=1)] = 1.0


class ApiAccessSettings(Frozen):
    """A cluster elsewhere that the command line talks to: its API, and the file with a key for it."""

    url: str = ""
    key_file: Path | None = None


class LocalCloudSettings(Frozen):
    """The `local` cloud: worker processes on this machine."""

    price_usd_per_hour: Annotated[float, Field(ge=0)] = 0.0


class KubernetesCloudSettings(Frozen):
    """The `kubernetes` cloud: worker groups of a RayCluster, by node type. An unset URL is the cluster's own API.

    `environment`: variables that pods get instead of what rented machines are told, such as another AIMA_HUB.
    """

    namespace: str = "aima"
    ray_cluster: str = "aima"
    groups: Mapping[str, str] = {}
    environment: Mapping[str, str] = {}
    price_usd_per_hour: Annotated[float, Field(ge=0)] = 0.0
    base_url: str = ""


class LimitSettings(Frozen):
    """The most that may be spent, in USD, days and months by UTC; null for no limit."""

    per_hour_usd: Annotated[float, Field(ge=0)] | None = None
    per_day_usd: Annotated[float, Field(ge=0)] | None = None
    per_month_usd: Annotated[float, Field(ge=0)] | None = None


class BudgetSettings(LimitSettings):
    """Limits for all clouds together, and for each cloud that is to have its own.

    `per_hour_usd` bounds a rate: what all machines together cost an hour. Nothing is bought that would exceed it; if it
    is exceeded later (a lower limit, another price), the newest machines end. `per_day_usd` and `per_month_usd` bound
    sums: a purchase has to leave room for the minutes after it, and what runs ends before the sum is spent.
    """

    per_hour_usd: Annotated[float, Field(ge=0)] | None = 10.0
    per_day_usd: Annotated[float, Field(ge=0)] | None = 50.0
    per_month_usd: Annotated[float, Field(ge=0)] | None = 300.0
    # From this share of a limit on, status and events warn.
    warn_at: Annotated[float, Field(gt=0, le=1)] = 0.8
    # Whether a limit also ends what runs: work in flight may end within it (scaling.drain_s), and beyond it everything
    # is ended. That is what a limit means to whoever pays. With false, limits only forbid purchases: what runs goes on
    # to its maximum age (scaling.max_age_s) and is billed.
    drain: bool = True
    # A purchase has to leave room in the day and month for so much running time.
    commitment_s: Annotated[float, Field(gt=0)] = 600.0
    clouds: Mapping[CloudName, LimitSettings] = {}
    # The ledger is an estimate until it is compared with what clouds have billed, once a day. Differences are worth a
    # warning from the larger of a sum and a share of the ledger's own sum; prices and seconds are rounded differently.
    bill_warn_usd: Annotated[float, Field(ge=0)] = 1.0
    bill_warn_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    # Bills come late: a machine whose bill is too low is judged only so long after its end.
    bill_settled_s: Annotated[float, Field(ge=0)] = 2 * 86_400.0


class OverlaySettings(Frozen):
    """How workers reach the head. Off, only workers of this machine can; on, every worker dials in, those too."""

    enabled: bool = False
    # Where the hub listens ("" for every address of this machine), and what rented machines dial; port 0 takes one
    # from the head's own port block, and public_port 0 is the same as port.
    listen_host: str = ""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    public_host: str = "127.0.0.1"
    public_port: Annotated[int, Field(ge=0, le=65535)] = 0
    # The container image that rented machines run.
    image: str = ""
    # How long a worker waits for a lost head before it ends itself.
    grace_s: Annotated[float, Field(gt=0)] = 600.0
    # A link that says nothing for this long is given up and dialled anew.
    silence_s: Annotated[float, Field(ge=3)] = 90.0
    # What the hub may hold for all streams together; half of it is guaranteed to the nodes in equal parts. A stream
    # takes 52 KiB until it moves much: the default carries some 1,800, enough for 40 busy nodes. For more, raise the
    # memory limit of the orchestrator's container (256 MiB) by as much.
    stream_memory_mib: Annotated[int, Field(ge=8)] = 96
    # Refuse rented machines with `gpus` on which nvidia-smi fails.
    check_gpu: bool = True
    # Workers of this machine get a network of their own, with no way out but the overlay: media must be files. Jobs
    # start on the head and move to a worker: with --entrypoint-num-cpus, Ray finds the head's node on this machine too
    # and takes it for the driver's, which the worker does not survive.
    isolate_local: bool = False


class Settings(Frozen):
    """Everything a cluster can be told. Unset paths follow `state_dir`.

    `queue_url` is amqp://, redis:// or sqs://, `documents_url` mongodb://; unset, the database serves for both.
    """

    state_dir: Path = Path("~/.aima")
    database_url: str = ""
    storage_uri: str = ""
    queue_url: str = ""
    documents_url: str = ""
    http: HttpSettings = HttpSettings()
    api: ApiAccessSettings = ApiAccessSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    scaling: ScalingSettings = ScalingSettings()
    media: MediaSettings = MediaSettings()
    models: ModelSettings = ModelSettings()
    ray: RaySettings = RaySettings()
    analyses: AnalysisSettings = AnalysisSettings()
    retention: RetentionSettings = RetentionSettings()
    local: LocalCloudSettings = LocalCloudSettings()
    overlay: OverlaySettings = OverlaySettings()
    kubernetes: KubernetesCloudSettings = KubernetesCloudSettings()
    budgets: BudgetSettings = BudgetSettings()
    node_types: Mapping[str, NodeTypeSettings] = {"gpu": NodeTypeSettings(), "cpu": NodeTypeSettings(gpus=0)}

    @model_validator(mode="after")
    def _nothing_contradicts(self) -> "Settings":
        if found := list(contradictions(self.model_dump(), RENTED)):
            raise ValueError("\n".join(found))
        return self

    def owner_media_roots(self) -> tuple[str, ...]:
        """The folders whose files only the holder of the cluster's own token may name."""
        return ("/",) if self.media.roots is None and self.http.host in LOOPBACK else ()

    def resolved(self) -> "Settings":
        """The same settings with absolute paths and the embedded defaults filled in."""
        state_dir = self.state_dir.expanduser().resolve()
        return self.model_copy(
            update={
                "state_dir": state_dir,
                "database_url": self.database_url or f"sqlite:///{state_dir / 'aima.db'}",
                "storage_uri": self.storage_uri or str(state_dir / "storage"),
            }
        )
