"""What a file is by its first bytes: names and extensions of uploads are never believed. Values in, values out.

A signature alone is not believed either where text or another file could begin with it: what follows has to fit. And
what is nothing but text is no media, whatever it begins with.
"""

from collections.abc import Callable

_BRANDS = {
    b"avif": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heic",
    b"M4A ": "audio/mp4",
    b"qt  ": "video/quicktime",
}
_RIFF = {b"AVI ": "video/x-msvideo", b"WAVE": "audio/wav", b"WEBP": "image/webp"}
_SIGNATURES = (
    (b"\x1aE\xdf\xa3", "video/x-matroska"),
    (b"OggS", "video/ogg"),
    (b"FLV\x01", "video/x-flv"),
    (b"0&\xb2u\x8ef\xcf\x11", "video/x-ms-asf"),
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"\x00\x00\x01\xb3", "video/mpeg"),
    (b"\x06\x0e+4", "application/mxf"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf1", "audio/aac"),
    (b"\xff\xf9", "audio/aac"),
    (b"fLaC", "audio/flac"),
    (b"#!AMR", "audio/amr"),
)
_TS_PACKET = 188
_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})  # the versions of the header that follows
_BMP_BITS = frozenset({1, 2, 4, 8, 16, 24, 32})
_LONGEST_BRANDS_BYTES = 4096
_TEXT_CONTROLS = frozenset(b"\t\n\r\f")


def sniff(head: bytes) -> str | None:
    """The media type of a file that begins with these bytes (some hundred are enough); None: no media that we know."""
    if _is_text(head):
        return None
    if head[4:8] == b"ftyp":
        size = int.from_bytes(head[:4], "big")
        return _BRANDS.get(head[8:12], "video/mp4") if 12 <= size <= _LONGEST_BRANDS_BYTES else None
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[:4] == b"FORM" and head[8:11] == b"AIF":
        return "audio/aiff"
    if _is_transport_stream(head, 0) or _is_transport_stream(head, 4):
        return "video/mp2t"
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind if _FOLLOWS.get(signature, _anything)(head) else None
    return None


def _is_text(head: bytes) -> bool:
    """Whether there is no byte in it that text has not. Every format above has some in its first hundred."""
    return all(byte >= 32 or byte in _TEXT_CONTROLS for byte in head) and head[:1] != b"\xff"


def _anything(_head: bytes) -> bool:
    return True


def _is_bitmap(head: bytes) -> bool:
    """Two letters begin many files: the header behind them says its own size, one plane, and its bits for a pixel."""
    header, pixels_at = int.from_bytes(head[14:18], "little"), int.from_bytes(head[10:14], "little")
    at = 22 if header == 12 else 26
    planes, bits = (int.from_bytes(head[i : i + 2], "little") for i in (at, at + 2))
    fits = header in _BMP_HEADERS and planes == 1 and bits in _BMP_BITS
    return fits and head[6:10] == bytes(4) and 14 + header <= pixels_at


def _is_tagged_audio(head: bytes) -> bool:
    """ID3: a version of 2 to 4, and a size whose bytes have seven bits."""
    return len(head) >= 10 and 2 <= head[3] <= 4 and all(byte < 128 for byte in head[6:10])


def _is_flash_video(head: bytes) -> bool:
    return not head[4] & 0xFA and head[5:9] == b"\0\0\0\x09"


def _is_tiff(head: bytes) -> bool:
    return int.from_bytes(head[4:8], "little" if head[:2] == b"II" else "big") >= 8


def _is_speech(head: bytes) -> bool:
    return head[5:6] == b"\n" or head[5:9] in (b"-WB\n", b"_MC1", b"-WB_")


_FOLLOWS: dict[bytes, Callable[[bytes], bool]] = {
    b"BM": _is_bitmap,
    b"ID3": _is_tagged_audio,
    b"FLV\x01": _is_flash_video,
    b"II*\x00": _is_tiff,
    b"MM\x00*": _is_tiff,
    b"OggS": lambda head: head[4:5] == b"\0",
    b"#!AMR": _is_speech,
    b"fLaC": lambda head: head[4] & 0x7F == 0 and head[5:8] == b"\0\0\x22",
}


def _is_transport_stream(head: bytes, offset: int) -> bool:
    """Packets of 188 bytes, each after `offset` bytes of time code, begin with a G."""
    packets = head[offset :: _TS_PACKET + offset][:3]
    return packets == b"GGG"
