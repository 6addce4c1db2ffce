"""Pictures come upright, at the size that is wanted, or with an error that says why not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.analyzers.registry import load_analyzer
from pipelines.errors import MediaError
from pipelines.media.decoders import still_image
from pipelines.media.decoders.still_image import OpenPicture
from pipelines.media.isolation import DecodeProcesses
from pipelines.media.sampling import Segment
from pipelines.segments.still_images import watch_pictures

ORIENTATION = 0x0112
# What a camera held like this stores, for a picture that is bright above and dark below.
TURNED = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


def read(path: Path) -> NDArray[np.uint8]:
    """The picture in its own size."""
    picture = OpenPicture(str(path))
    (pixels,) = picture.pixels([(picture.height, picture.width)])
    return pixels


def upright() -> Image.Image:
    """100 wide, 60 high: white above, black below."""
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[:30] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("file", ["a.jpg", "a.png", "a.webp", "a.tiff"])
def test_pictures_are_turned_upright(tmp_path: Path, file: str, orientation: int) -> None:
    turn = TURNED[orientation]
    stored = upright().transpose(turn) if turn is not None else upright()
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored.save(tmp_path / file, exif=exif)
    pixels = read(tmp_path / file)
    assert pixels.shape == (60, 100, 3)
    assert pixels.dtype == np.uint8
    assert pixels[:25].min() > 250
    assert pixels[35:].max() < 5


@pytest.mark.parametrize(
    ("mode", "file", "grey"),
    [("L", "a.png", 127), ("LA", "a.png", 127), ("RGBA", "a.png", 127), ("P", "a.gif", 127), ("CMYK", "a.jpg", 127)],
)
def test_all_colour_modes_become_rgb(tmp_path: Path, mode: str, file: str, grey: int) -> None:
    plain = Image.new("L" if mode == "P" else "RGB", (40, 30), grey if mode == "P" else (grey,) * 3)
    plain.convert(mode).save(tmp_path / file)
    assert np.abs(read(tmp_path / file).astype(int) - grey).max() <= 3


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    Image.fromarray(np.full((30, 40), 32_768, np.uint16)).save(tmp_path / "a.png")
    pixels = read(tmp_path / "a.png")
    assert pixels.shape == (30, 40, 3)
    assert set(np.unique(pixels)) == {128}


def test_a_huge_picture_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "wide.jpg"
    Image.new("RGB", (3000, 100)).save(path)
    small, square = OpenPicture(str(path)).pixels([(10, 300), (20, 20)])
    assert (small.shape, square.shape) == ((10, 300, 3), (20, 20, 3))
    monkeypatch.setattr(still_image, "_MOST_PIXELS", 1000)
    with pytest.raises(MediaError, match=r"wide\.jpg: 3000 x 100 pixels; at most 1000 are read"):
        read(path)


def test_bad_files_say_why(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(good)
    data = good.read_bytes()
    files: dict[str, tuple[bytes, str]] = {
        "cut.png": (data[: len(data) // 2], "damaged picture"),
        "empty.png": (b"", "the file is empty"),
        "text.png": (b"no picture" * 99, "not a picture of a known format"),
        "page.pdf": (b"%PDF-1.4 ...", "not a picture of a known format"),
    }
    for name, (content, message) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MediaError, match=message):
            read(tmp_path / name)
    with pytest.raises(MediaError, match=r"gone\.png: no such file"):
        read(tmp_path / "gone.png")
    with pytest.raises(MediaError, match="is a folder"):
        read(tmp_path)


class Seen:
    """A run that notes what it is shown."""

    def __init__(self) -> None:
        self.frames = 0
        self.shown: list[tuple[int, tuple[int, ...], float]] = []

    def add(self, batch: Any) -> None:
        for number, pixels, time_s in zip(batch.indices, batch.pixels, batch.times_s, strict=True):
            self.shown.append((int(number), pixels.shape, float(time_s)))

    def finish(self) -> None:
        return None


class Wants:
    """An analyzer by the size that it wants: half of the picture's, or always the same."""

    def __init__(self, fixed: tuple[int, int] | None = None) -> None:
        self._fixed = fixed

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        return self._fixed or (height // 2, width // 2)


def test_each_picture_is_shown_once_in_order_and_bad_ones_are_named(tmp_path: Path) -> None:
    uris = []
    for number in range(90):
        uris.append(str(tmp_path / f"{number}.png"))
        Image.new("RGB", (40 + 2 * (number % 3 == 0), 20)).save(uris[-1])
    (tmp_path / "7.png").write_bytes(b"no picture")
    half, square = Seen(), Seen()
    analyzers: Any = [Wants(), Wants((8, 8))]
    errors = watch_pictures(uris, analyzers, [half, square], DecodeProcesses())
    assert [str(error).split(":")[0] for error in errors] == ["7.png"]
    good = [number for number in range(90) if number != 7]
    assert half.shown == [(n, (10, 21 if n % 3 == 0 else 20, 3), 0.0) for n in good]
    assert square.shown == [(n, (8, 8, 3), 0.0) for n in good]


def test_analyzers_see_a_picture_as_one_frame(tmp_path: Path) -> None:
    upright().save(tmp_path / "a.png")
    analyzer: Any = load_analyzer("brightness")
    analyzer.load("cpu")
    run = analyzer.start(Segment(0, 0.0, 0.0, last=True))
    assert watch_pictures([str(tmp_path / "a.png")], [analyzer], [run], DecodeProcesses()) == []
    (row,) = run.finish().to_pylist()
    assert (row["time_s"], row["frame_index"], row["segment"]) == (0.0, 0, 0)
    assert row["mean"] == pytest.approx(127.5, abs=2)
    assert row["deviation"] == pytest.approx(127.5, abs=3)
