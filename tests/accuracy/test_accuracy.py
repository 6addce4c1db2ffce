"""Accuracy on labelled samples, with the real weights."""

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("skimage")

from tests.accuracy import pictures, sound
from tests.accuracy.measures import Measure, error_rate


def assert_all_hold(measures: list[Measure]) -> None:
    assert measures
    assert [measure for measure in measures if not measure.holds] == []


def test_error_rates() -> None:
    assert error_rate("kitten", "sitting") == pytest.approx(3 / 7)
    assert error_rate([], ["a", "b"]) == 1
    assert error_rate(["a"], ["a"]) == 0


def test_labels_name_what_photographs_show() -> None:
    assert_all_hold(list(pictures.label_measures()))


def test_embeddings_tell_like_pictures_from_unlike_ones() -> None:
    assert_all_hold(list(pictures.embedding_measures()))


def test_safety_scores_are_the_models() -> None:
    assert_all_hold(list(pictures.safety_measures()))


def test_objects_are_found_where_they_are() -> None:
    assert_all_hold(list(pictures.object_measures()))


def test_rendered_text_is_read(tmp_path: Path) -> None:
    assert_all_hold([pictures.text_measure(tmp_path)])


def test_cuts_are_found_to_the_frame(tmp_path: Path) -> None:
    assert_all_hold(list(pictures.scene_measures(tmp_path)))


def test_spoken_sentences_are_written_down(tmp_path: Path) -> None:
    assert_all_hold(list(sound.transcript_measures(tmp_path)))


def test_speech_is_told_from_noise(tmp_path: Path) -> None:
    assert_all_hold(list(sound.speech_measures(tmp_path)))
