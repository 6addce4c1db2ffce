"""Measures of the analyzers that listen, on sentences spoken by espeak-ng."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.analyzers.registry import load_analyzer
from pipelines.media.decoders.audio import read_samples
from pipelines.media.sampling import Segment, plan_segments
from pipelines.media.sound import RATE_HZ, Samples
from pipelines.segments.segment_sound import segment_samples
from tests.accuracy.measures import Measure, error_rate
from tests.support.samples.sound import speak

SENTENCES = (
    "The weather in London will be cloudy tomorrow morning.",
    "Please open the window and close the door.",
    "Our train leaves from the second platform in the evening.",
    "Music is the universal language of mankind.",
    "She bought fresh bread and a bottle of milk at the market.",
    "The children are playing football in the garden.",
)


def measures(folder: Path) -> Iterator[Measure]:
    """All of them; sound files are made in `folder`."""
    yield from transcript_measures(folder)
    yield from speech_measures(folder)


def transcript_measures(folder: Path) -> Iterator[Measure]:
    """The rate of wrong words, heard as a whole and cut into segments of 8 s amid the sentences; and the language."""
    path = speak(" ".join(SENTENCES), folder / "sentences.wav")
    transcript: Any = load_analyzer("transcript")
    transcript.load("cpu")
    whole, _ = read_samples(str(path), 0.0)
    truth = _words(" ".join(SENTENCES))
    rows = transcript.analyse(whole, Segment(0, 0.0, whole.end_s, last=True)).to_pylist()
    rate = error_rate(_words(" ".join(row["text"] for row in rows)), truth)
    yield Measure("transcript", "word error rate", len(truth), rate, 0.05, False)
    english = np.mean([row["language"] == "en" for row in rows])
    yield Measure("transcript", "language found", len(rows), float(english), 1.0)
    cut: list[str] = []
    for segment in plan_segments(whole.end_s, 8.0):
        samples, _ = segment_samples(str(path), segment, read_samples)
        cut += [row["text"] for row in transcript.analyse(samples, segment).to_pylist()]
    rate = error_rate(_words(" ".join(cut)), truth)
    yield Measure("transcript", "word error rate, cut into segments", len(truth), rate, 0.05, False)


def speech_measures(folder: Path) -> Iterator[Measure]:
    """Speech between noise of known lengths; and noise and tones without any."""
    speech: Any = load_analyzer("speech")
    speech.load("cpu")
    spoken, _ = read_samples(str(speak(SENTENCES[0], folder / "one.wav")), 0.0)
    loud = np.flatnonzero(abs(spoken.values) > 0.01)
    voice = spoken.values[loud[0] : loud[-1]]
    noise = np.random.default_rng(3).normal(0, 0.003, 3 * RATE_HZ).astype(np.float32)
    rows = _ranges(speech, np.concatenate([noise, voice, noise, voice, noise]))
    length = len(voice) / RATE_HZ
    truth = [3.0, 3.0 + length, 6.0 + length, 6.0 + 2 * length]
    found = [edge for span in rows for edge in span]
    worst = max(abs(a - b) for a, b in zip(found, truth, strict=True)) if len(found) == len(truth) else float("inf")
    yield Measure("speech", "worst error of a border, s", len(truth), worst, 0.3, False)
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(5 * RATE_HZ) / RATE_HZ)).astype(np.float32)
    wrong = sum(end - start for start, end in _ranges(speech, np.concatenate([10 * noise, tone])))
    yield Measure("speech", "s of noise and tone taken for speech", 8, wrong, 0.0, False)


def _ranges(speech: Any, values: Any) -> list[tuple[float, float]]:
    table = speech.analyse(Samples(values, 0.0), Segment(0, 0.0, len(values) / RATE_HZ, last=True))
    return [(row["start_s"], row["end_s"]) for row in table.to_pylist()]


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())
