"""Which analyzers have anything to look at, or to hear, in a media item, and what to say. Values in, values out."""

from collections.abc import Mapping, Sequence

from pipelines.analyzers.registry import describe
from pipelines.errors import MediaError
from pipelines.media.sources import MediaInfo


def applicable(info: MediaInfo, names: Sequence[str]) -> tuple[tuple[str, ...], MediaError | None]:
    """The analyzers that can say something about the item, and the error that the others are; None for none.

    Sound alone has nothing for analyzers of frames: whoever asks for them anyway has made a mistake, which must not
    look like an answer. Nothing said in a picture or a silent video, no cut in a picture: these are answers, and no
    error. But a picture of which nothing at all can be said is one. Raises UnknownAnalyzer.
    """
    if info.kind == "audio":
        fits = tuple(name for name in names if describe(name).takes == "audio")
        without = [name for name in names if name not in fits]
        return fits, _misfit(info, without, "has no picture", "speech or transcript") if without else None
    if info.kind == "picture":
        fits = tuple(name for name in names if describe(name).takes == "frames" and describe(name).stills)
        return fits, None if fits else _misfit(info, names, "is one still picture", "labels or text")
    return tuple(names), None


def warnings_of(
    frames: Mapping[str, int], damages: Sequence[MediaError | None], nothing: Mapping[str, str], notes: Sequence[str]
) -> tuple[str, ...]:
    """What a segment's report warns of; `nothing`: analyzers that found nothing, and why; `notes`: of its decoder."""
    return (
        *(f"{name}: no frame in this segment" for name, count in frames.items() if not count),
        *(f"{name}: {why}" for name, why in nothing.items()),
        *(f"damaged after this segment: {damage}" for damage in damages if damage),
        *notes,
    )


def _misfit(info: MediaInfo, names: Sequence[str], because: str, others: str) -> MediaError:
    return MediaError(info.uri, f"{', '.join(names)} cannot analyse this file: it {because}; choose {others} instead")
