"""A picture as a video of one frame: the same analyzers, upright, at the size each of them wants."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipelines.analyzers import Analyzer
from pipelines.errors import MediaError
from pipelines.frames import FrameBatch
from pipelines.http_file import open_http
from pipelines.sampling import Segment

# What Pillow may try: formats whose readers are in wide use. Others (PDF, PS, FITS ...) have no business here.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_ORIENTATION = 0x0112  # the EXIF tag
_MOST_BYTES = 256 << 20
_MOST_PIXELS = 200_000_000
THE_SEGMENT = Segment(0, 0.0, 0.0, last=True)


def analyse_image(uri: str, analyzers: Sequence[Analyzer]) -> dict[str, Any]:
    """Each analyzer's table of the picture's records, as of a frame at 0 s. Raises MediaError."""
    with _open(uri) as picture:
        height, width = _upright_size(uri, picture)
        sizes = [analyzer.frame_size(height, width) for analyzer in analyzers]
        pixels = _decoded(uri, picture, max(height for height, _ in sizes), max(width for _, width in sizes))
    tables = {}
    for analyzer, size in zip(analyzers, sizes, strict=True):
        run = analyzer.start(THE_SEGMENT)
        run.add(_one_frame(_resized(pixels, *size)))
        tables[analyzer.name] = run.finish()
    return tables


def read_image(uri: str, longest_side: int = 4096) -> FrameBatch:
    """The picture as one frame: RGB, upright by its EXIF orientation, no side longer. Raises MediaError."""
    with _open(uri) as picture:
        height, width = _upright_size(uri, picture)
        scale = min(1.0, longest_side / max(height, width))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        return _one_frame(_resized(_decoded(uri, picture, *size), *size))


def _open(uri: str) -> Image.Image:
    """The picture, its header read. Raises MediaError."""
    data = _read(uri)
    if not data:
        raise MediaError(uri, "the file is empty")
    with _damage_named(uri), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is ours
        try:
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
        except UnidentifiedImageError:
            raise MediaError(uri, f"not a picture of a known format ({', '.join(FORMATS)})") from None
    if picture.width * picture.height > _MOST_PIXELS:
        raise MediaError(uri, f"{picture.width} x {picture.height} pixels; at most {_MOST_PIXELS} are read")
    return picture


def _read(uri: str) -> bytes:
    try:
        with _stream(uri) as file:
            data: bytes = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise MediaError(uri, "no such file") from None
    except IsADirectoryError:
        raise MediaError(uri, "is a folder") from None
    except OSError as error:
        raise MediaError(uri, error.strerror or str(error)) from error
    if len(data) > _MOST_BYTES:
        raise MediaError(uri, f"larger than {_MOST_BYTES >> 20} MiB")
    return data


def _stream(uri: str) -> Any:
    if "://" not in uri or uri.startswith("file://"):
        return Path(uri.removeprefix("file://")).open("rb")
    if uri.startswith(("http://", "https://")):
        return open_http(uri)
    from pyarrow import fs  # noqa: PLC0415

    filesystem, path = fs.FileSystem.from_uri(uri)
    return filesystem.open_input_stream(path, compression=None)


def _upright_size(uri: str, picture: Image.Image) -> tuple[int, int]:
    """(height, width) as displayed."""
    with _damage_named(uri):
        # Pillow turns TIFFs by itself, and has swapped their sides already.
        turned = picture.format != "TIFF" and picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    return (picture.width, picture.height) if turned else (picture.height, picture.width)


def _decoded(uri: str, picture: Image.Image, height: int, width: int) -> NDArray[np.uint8]:
    """uint8 (H, W, 3), upright, at least of this size where the picture is: a JPEG is decoded no larger than needed."""
    with _damage_named(uri):
        picture.draft("RGB", (max(height, width),) * 2)
        upright = ImageOps.exif_transpose(picture)
        if upright.mode.startswith("I;16"):
            return np.repeat((np.asarray(upright) >> 8).astype(np.uint8)[..., None], 3, 2)
        return np.array(upright.convert("RGB"))


@contextmanager
def _damage_named(uri: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MediaError(uri, f"damaged picture: {error}") from error


def _resized(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0))


def _one_frame(pixels: NDArray[np.uint8]) -> FrameBatch:
    return FrameBatch(pixels[None], np.zeros(1), np.zeros(1, np.int64))
