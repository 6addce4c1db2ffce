"""What a file is by its first bytes: names and extensions of uploads are never believed. Values in, values out."""

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
    (b"GIF8", "image/gif"),
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


def sniff(head: bytes) -> str | None:
    """The media type of a file that begins with these bytes (some hundred are enough); None: no media that we know."""
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[:4] == b"FORM" and head[8:11] == b"AIF":
        return "audio/aiff"
    if _is_transport_stream(head, 0) or _is_transport_stream(head, 4):
        return "video/mp2t"
    return next((kind for signature, kind in _SIGNATURES if head.startswith(signature)), None)


def _is_transport_stream(head: bytes, offset: int) -> bool:
    """Packets of 188 bytes, each after `offset` bytes of time code, begin with a G."""
    packets = head[offset :: _TS_PACKET + offset][:3]
    return packets == b"GGG"
