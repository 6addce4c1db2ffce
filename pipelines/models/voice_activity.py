"""Where somebody speaks: Silero's voice activity model, as faster-whisper carries it."""

from pipelines.media.sound import RATE_HZ, Samples


def speech_ranges(samples: Samples, threshold: float = 0.5, shortest_pause_s: float = 0.2) -> list[tuple[float, float]]:
    """(start_s, end_s) of each stretch of speech, sorted, on the samples' clock; shorter pauses do not part them."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps  # noqa: PLC0415

    options = VadOptions(
        threshold=threshold,
        min_speech_duration_ms=100,
        min_silence_duration_ms=round(shortest_pause_s * 1000),
        speech_pad_ms=30,
    )
    found = get_speech_timestamps(samples.values, options, RATE_HZ) if len(samples.values) else []
    return [(samples.start_s + span["start"] / RATE_HZ, samples.start_s + span["end"] / RATE_HZ) for span in found]
