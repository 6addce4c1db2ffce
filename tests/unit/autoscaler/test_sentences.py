"""What strangers write is kept as one short printable line."""

import pytest

from autoscaler.records.sentences import SENTENCE_BYTES, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("größer als ein Wort", "größer als ein Wort"),
        ("one\nForged: two\r\nthree\tfour", "one Forged: two  three four"),
        ("\x1b[2Jcleared\x07\x00", "?[2Jcleared??"),
        ("abc\u202egnp.exe\u200b", "abc?gnp.exe?"),
        ("line\u2028separator\u2029", "line separator "),
        ("half a \ud800 pair", "half a ? pair"),
    ],
)
def test_text_is_one_printable_line(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("character", ["x", "ü", "\U0001f600", "\n"])
def test_text_is_bounded_in_bytes_not_in_characters(character: str) -> None:
    kept = printable(character * 1_000_000)
    assert len(kept.encode()) <= SENTENCE_BYTES
    assert kept.endswith("...")
    assert len(printable(character * 10, 8).encode()) <= 8
