"""A short film made for tests, with something for every analyzer: photographs, a notice in one of them, a voice."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tests.accuracy.pictures import SUBJECTS, photograph
from tests.support.samples.sound import speak

SCENES = ("chelsea", "coffee", "motorcycle")
SCENE_S = 5.0
NOTICE = "CHECKPOINT 42"
NOTICE_SCENE = 1
SENTENCE = "Please send the invoice before the end of the month."
NAMES = tuple(SUBJECTS[name] for name in SCENES)  # the labels that fit, by scene
_SIZE, _FPS, _RATE = (640, 360), 25, 48_000


def film(folder: Path) -> Path:
    """15 s of H.264 and AAC: a cut every 5 s, the notice written over the second scene, the sentence from the start.

    Skips the test without espeak-ng.
    """
    path = folder / "film.mp4"
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=_FPS, options={"preset": "ultrafast", "g": str(_FPS)})
        video.width, video.height, video.pix_fmt = *_SIZE, "yuv420p"
        audio: Any = container.add_stream("aac", rate=_RATE, layout="mono")
        for number in range(round(len(SCENES) * SCENE_S * _FPS)):
            scene, moment = divmod(number / _FPS, SCENE_S)
            frame = av.VideoFrame.from_image(_shot(int(scene), moment / SCENE_S))
            frame.pts, frame.time_base = number, Fraction(1, _FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        _say(container, audio, speak(SENTENCE, folder / "voice.wav"))
    return path


def _shot(scene: int, share: float) -> Image.Image:
    """A slow zoom on a photograph."""
    picture = Image.fromarray(photograph(SCENES[scene]))
    margin_x, margin_y = (0.05 * share * side for side in picture.size)
    width, height = picture.size
    shot = picture.resize(_SIZE, Image.Resampling.BILINEAR, (margin_x, margin_y, width - margin_x, height - margin_y))
    if scene == NOTICE_SCENE:
        pen = ImageDraw.Draw(shot)
        pen.rectangle((40, 270, 480, 335), fill=(16, 24, 40))
        pen.text((60, 278), NOTICE, font=ImageFont.load_default(size=44), fill="white")
    return shot


def _say(container: Any, stream: Any, voice: Path) -> None:
    resampler = av.AudioResampler("fltp", "mono", _RATE)
    with av.open(str(voice)) as source:
        said = [part.to_ndarray() for frame in source.decode(audio=0) for part in resampler.resample(frame)]
    said += [part.to_ndarray() for part in resampler.resample(None)]
    samples = np.concatenate(said, axis=1)
    for start in range(0, samples.shape[1], 1024):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, start : start + 1024]), "fltp", "mono")
        frame.rate, frame.pts, frame.time_base = _RATE, start, Fraction(1, _RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
