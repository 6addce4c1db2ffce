"""What the service is told, as text that its own process reads. It imports nothing: the head has no use for Ray's."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pipelines.logs import Format, Level

# So many cores of a node of the CPU lane are one replica's.
CPUS_PER_WORKER = 2
_LISTS = ("media_roots", "owner_media_roots", "media_storage", "model_places", "ray_warnings")


@dataclass(frozen=True)
class ServiceSettings:
    """Everything the service is told. Tokens are named by file and read where they are used."""

    cluster_id: str
    ray_dir: str
    database_url: str
    storage_uri: str
    queue_url: str
    documents_url: str
    orchestrator_url: str
    clock_path: str
    fleet_token_file: str
    api_token_file: str
    http_host: str
    http_port: int
    max_submission_bytes: int
    max_image_bytes: int
    body_silence_s: float
    media_roots: tuple[str, ...]
    owner_media_roots: tuple[str, ...]
    allow_private_hosts: bool
    media_storage: tuple[str, ...]
    model_places: tuple[str, ...]
    hardware_decoding: bool
    keep_days: float | None
    public_docs: bool
    max_workers: Mapping[str, int]  # by lane; 0: the lane's analyzers run on the other one
    segments_per_worker: Mapping[str, int]  # by lane
    idle_limit_s: float
    segment_s: float
    media_s_per_worker: float
    max_media_s: float
    max_segments: int
    max_workers_of_one: int
    max_frame_pixels: int
    probe_memory_bytes: int
    log_format: Format
    log_level: Level
    log_path: str
    traces_endpoint: str
    traces_sample: float
    ray_warnings: tuple[str, ...]  # where Ray is not as AIMA wants it, in sentences

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ServiceSettings":
        values = json.loads(text)
        lists = {name: tuple(values[name]) for name in _LISTS}
        return cls(**values | lists)
