"""What a cluster can be told about requests: what they may name, how large they may be, how long they are kept."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """Settings: read once, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MediaSettings(Frozen):
    """Which files of this machine, which hosts, and which storage (s3://bucket/prefix) a request may name.

    `roots`: the folders whose files every key may name. Unset, only the owner of a cluster that listens on this machine
    alone may name files, by the cluster's own token: nobody else has asked this machine to read its disk for them.
    """

    roots: tuple[str, ...] | None = None
    allow_private_hosts: bool = False
    storage: tuple[str, ...] = ()


class AnalysisSettings(Frozen):
    """What one analysis may be. A header is a stranger's claim: without limits, one of 700 bytes buys every machine."""

    # The longest media item: a day. Recordings are longer only by mistake, and live streams never end.
    max_media_s: Annotated[float, Field(gt=0)] = 86_400.0
    # All segments of an analysis: two weeks of media by the minute. Each is a row that is read and written many times.
    max_segments: Annotated[int, Field(ge=1)] = 20_000
    # The workers of each lane that one analysis alone is worth: others, and the budget, want some too.
    max_workers: Annotated[int, Field(ge=1)] = 8
    # The largest frame: 8K has 33 million pixels. A frame is decoded on the head, to see that it can be.
    max_frame_pixels: Annotated[int, Field(ge=1)] = 1 << 26
    # What reading a header may take of the head's memory, in MiB; six are read at once at most, each in a process.
    probe_memory_mib: Annotated[int, Field(ge=256)] = 512


class ModelSettings(Frozen):
    """Where models lie that a request may name by their file: folders of the workers, and s3://bucket/prefix.

    Models that are known by name are always allowed, and batch jobs may name any place. `hardware_decoding` lets
    workers decode videos by their GPU's own decoder where it proves itself; requests' media reach its driver then
    (cluster/overlay/SECURITY.md).
    """

    places: tuple[Annotated[str, Field(pattern="^(/|s3://[^/])")], ...] = ()
    hardware_decoding: bool = False


class RetentionSettings(Frozen):
    """After how many days everything about an analysis is erased, if its request says nothing; unset: never."""

    keep_days: Annotated[float, Field(gt=0)] | None = None
