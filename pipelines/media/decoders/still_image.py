"""From a file to one upright RGB picture, by Pillow. For files of strangers: in a process of its own (isolation.py)."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipelines.errors import MediaError, unreadable
from pipelines.media.addresses import AddressRefused, read_address
from pipelines.media.sources import PICTURE_FORMATS, open_bytes

_ORIENTATION = 0x0112  # the EXIF tag
_MOST_BYTES = 256 << 20
_MOST_PIXELS = 200_000_000


class OpenPicture:
    """A picture whose header is read: `height` and `width` are as displayed. Raises MediaError."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._picture = _opened(uri)
        with _damage_named(uri):
            # Pillow turns TIFFs by itself, and has swapped their sides already.
            turned = self._picture.format != "TIFF" and self._picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
        sides = self._picture.height, self._picture.width
        self.height, self.width = sides[::-1] if turned else sides

    def pixels(self, sizes: Sequence[tuple[int, int]]) -> list[NDArray[np.uint8]]:
        """uint8 (H, W, 3), upright by its EXIF orientation, for each (height, width). Once. Raises MediaError."""
        whole = self._decoded(max(height for height, _ in sizes), max(width for _, width in sizes))
        return [_resized(whole, *size) for size in sizes]

    def _decoded(self, height: int, width: int) -> NDArray[np.uint8]:
        """At least of this size where the picture is: a JPEG is decoded no larger than needed."""
        with _damage_named(self.uri):
            self._picture.draft("RGB", (max(height, width),) * 2)
            upright = ImageOps.exif_transpose(self._picture)
            if upright.mode.startswith("I;16"):
                return np.repeat((np.asarray(upright) >> 8).astype(np.uint8)[..., None], 3, 2)
            return np.array(upright.convert("RGB"))


def _opened(uri: str) -> Image.Image:
    data = _read(uri)
    if not data:
        raise MediaError(uri, "the file is empty")
    with _damage_named(uri), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is ours
        try:
            picture = Image.open(io.BytesIO(data), formats=PICTURE_FORMATS)
        except UnidentifiedImageError:
            raise MediaError(uri, f"not a picture of a known format ({', '.join(PICTURE_FORMATS)})") from None
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
    except AddressRefused as error:
        raise MediaError(uri, str(error)) from None
    except OSError as error:
        raise unreadable(uri, error.strerror or str(error), error) from error
    if len(data) > _MOST_BYTES:
        raise MediaError(uri, f"larger than {_MOST_BYTES >> 20} MiB")
    return data


def _stream(uri: str) -> Any:
    return open_bytes(read_address(uri))


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
