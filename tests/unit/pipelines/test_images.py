"""Pictures come upright, at the size that is wanted, or with an error that says why not."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from pipelines import images
from pipelines.analyzers import Analyzer, load_analyzer
from pipelines.errors import MediaError
from pipelines.images import analyse_image, read_image

ORIENTATION = 0x0112
# What a camera held like this stores, for a picture that is bright above and dark below.
TURNED = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


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
    frame = read_image(str(tmp_path / file))
    assert (frame.pixels.shape, frame.times_s.tolist(), frame.indices.tolist()) == ((1, 60, 100, 3), [0.0], [0])
    assert frame.pixels[0, :25].min() > 250
    assert frame.pixels[0, 35:].max() < 5


@pytest.mark.parametrize(
    ("mode", "file", "grey"),
    [("L", "a.png", 127), ("LA", "a.png", 127), ("RGBA", "a.png", 127), ("P", "a.gif", 127), ("CMYK", "a.jpg", 127)],
)
def test_all_colour_modes_become_rgb(tmp_path: Path, mode: str, file: str, grey: int) -> None:
    plain = Image.new("L" if mode == "P" else "RGB", (40, 30), grey if mode == "P" else (grey,) * 3)
    plain.convert(mode).save(tmp_path / file)
    assert np.abs(read_image(str(tmp_path / file)).pixels.astype(int) - grey).max() <= 3


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    Image.fromarray(np.full((30, 40), 32_768, np.uint16)).save(tmp_path / "a.png")
    frame = read_image(str(tmp_path / "a.png"))
    assert frame.pixels.shape == (1, 30, 40, 3)
    assert set(np.unique(frame.pixels)) == {128}


def test_a_huge_picture_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "wide.jpg"
    Image.new("RGB", (3000, 100)).save(path)
    assert read_image(str(path), longest_side=300).pixels.shape == (1, 10, 300, 3)
    monkeypatch.setattr(images, "_MOST_PIXELS", 1000)
    with pytest.raises(MediaError, match=r"wide\.jpg: 3000 x 100 pixels; at most 1000 are read"):
        read_image(str(path))


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
            read_image(str(tmp_path / name))
    with pytest.raises(MediaError, match=r"gone\.png: no such file"):
        read_image(str(tmp_path / "gone.png"))
    with pytest.raises(MediaError, match="is a folder"):
        read_image(str(tmp_path))


def test_analyzers_see_a_picture_as_one_frame(tmp_path: Path) -> None:
    upright().save(tmp_path / "a.png")
    analyzer: Any = load_analyzer("brightness")
    analyzer.load("cpu")
    tables = analyse_image(str(tmp_path / "a.png"), [cast(Analyzer, analyzer)])
    (row,) = tables["brightness"].to_pylist()
    assert (row["time_s"], row["frame_index"], row["segment"]) == (0.0, 0, 0)
    assert row["mean"] == pytest.approx(127.5, abs=2)
    assert row["deviation"] == pytest.approx(127.5, abs=3)
