"""What `probe` says of good files, and of bad ones."""

import pickle
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("av")

import av

from pipelines.errors import MediaError, UnknownAnalyzer
from pipelines.media.isolation import DecodeProcesses
from pipelines.media.sources import MediaInfo, probe
from pipelines.segments.applicability import applicable
from tests.support.samples import media
from tests.support.samples.sound import clicks, write


def test_probe_reads_the_header(tmp_path: Path) -> None:
    info = probe(str(media.build("h264-mp4", tmp_path).path))
    assert (info.codec, info.width, info.height, info.rotation_deg) == ("h264", 160, 96, 0)
    assert (info.average_fps, info.has_audio) == (25.0, False)
    assert info.duration_s == pytest.approx(2.4, abs=0.01)
    assert MediaInfo.from_dict(info.to_dict()) == info


def test_probe_gives_the_displayed_size(tmp_path: Path) -> None:
    info = probe("file://" + str(media.build("rotated-mp4", tmp_path).path))
    assert (info.width, info.height, info.rotation_deg) == (160, 96, 90)


@pytest.mark.parametrize("name", ["h264-fragmented", "h264-ts", "vp9-webm", "mpeg4-avi", "vfr-mp4"])
def test_probe_finds_the_duration(name: str, tmp_path: Path) -> None:
    clip = media.build(name, tmp_path)
    duration_s = probe(str(clip.path)).duration_s
    assert duration_s == pytest.approx(clip.times_s[-1] + 0.04, abs=0.1)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("empty", "empty.mp4: the file is empty"),
        ("not media", "text.mp4: not a media file"),
        ("truncated", "truncated.mp4: not a media file that can be read, or cut off"),
    ],
)
def test_probe_names_file_and_cause(name: str, cause: str, tmp_path: Path) -> None:
    path = str(media.BROKEN[name](tmp_path))
    with pytest.raises(MediaError, match=cause) as caught:
        probe(path)
    assert caught.value.uri == path
    with pytest.raises(MediaError, match=cause):
        DecodeProcesses().probe(path)


@pytest.mark.parametrize(
    ("file", "codec"),
    [("a.wav", "pcm_s16le"), ("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.mp4", "aac"), ("a.ogg", "libopus")],
)
def test_sound_alone_is_media_too(file: str, codec: str, tmp_path: Path) -> None:
    path = str(write(tmp_path / file, clicks(3, [1.0], 48_000), 48_000, codec))
    info = probe(path)
    assert (info.kind, info.width, info.height, info.has_audio) == ("audio", 0, 0, True)
    assert info.duration_s == pytest.approx(3, abs=0.1)
    assert DecodeProcesses().probe(path) == info
    assert MediaInfo.from_dict(info.to_dict()) == info


def test_a_file_with_neither_picture_nor_sound_says_so(tmp_path: Path) -> None:
    path = tmp_path / "data.ts"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_data_stream("bin_data")
        packet = av.Packet(b"hello" * 50)
        packet.pts = packet.dts = 0
        packet.time_base, packet.stream = Fraction(1, 90_000), stream
        container.mux(packet)
    with pytest.raises(MediaError, match=r"data\.ts: neither a video nor an audio stream"):
        probe(str(path))


def test_what_asked_analyzers_can_do_with_media() -> None:
    video = MediaInfo("a.mp4", "mp4", "h264", 64, 48, 0, 9.0, 25.0, has_audio=False)
    sound = replace(video, uri="a.mp3", width=0, height=0, kind="audio", has_audio=True)
    picture = replace(video, uri="a.png", kind="picture")
    assert applicable(video, ["labels", "speech"]) == (("labels", "speech"), None)
    assert applicable(sound, ["speech", "transcript"]) == (("speech", "transcript"), None)
    fits, error = applicable(sound, ["labels", "transcript", "scenes"])
    assert fits == ("transcript",)
    assert (
        str(error)
        == "a.mp3: labels, scenes cannot analyse this file: it has no picture; choose speech or transcript instead"
    )
    assert applicable(picture, ["labels", "scenes", "speech"]) == (("labels",), None)
    fits, error = applicable(picture, ["scenes", "speech"])
    assert (fits, str(error)) == (
        (),
        "a.png: scenes, speech cannot analyse this file: it is one still picture; choose labels or text instead",
    )


def test_missing_files_folders_and_strange_addresses(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"gone\.mp4: no such file"):
        probe(str(tmp_path / "gone.mp4"))
    with pytest.raises(MediaError, match="is a folder"):
        probe(str(tmp_path))
    with pytest.raises(MediaError, match="gopher://"):
        probe("gopher://host/video.mp4")
    with pytest.raises(MediaError, match="no such file"):
        probe("concat:/etc/passwd|/etc/hosts")


def test_a_playlist_cannot_open_other_files(tmp_path: Path) -> None:
    clip = media.build("h264-ts", tmp_path).path
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXTINF:2.4,\nfile://{clip}\n#EXT-X-ENDLIST\n")
    with pytest.raises(MediaError):
        probe(str(playlist))


def test_errors_survive_pickling_and_hide_presigned_queries() -> None:
    error = MediaError("https://host/a/clip.mp4?X-Signature=secret", "no video stream", 3.25)
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) == "clip.mp4: no video stream (at 3.250 s)"
    unknown = pickle.loads(pickle.dumps(UnknownAnalyzer("faces", ["labels", "scenes"])))
    assert str(unknown) == "unknown analyzer 'faces'; choose from: labels, scenes"
