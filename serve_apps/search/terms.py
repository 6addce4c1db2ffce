"""Which words make a record findable, and which words of a question matter. Values in, values out."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_WORD = re.compile(r"\w+")
_MAX_LENGTH = 64
# What people write around the thing that they look for.
_AROUND = """
a about all an and any are at be by can did do does find for from has have he her him his how i in is it me of on or
said say says see she show that the there they this to was were what when where which who with you
"""
_STOP_WORDS = frozenset(_AROUND.split())
# Of several guesses at one thing, best first, the others count from this score on: as on the page's timeline.
_SURE = 0.2


def words(text: str) -> Iterator[str]:
    """Its words in lower case, cut to 64 characters."""
    for found in _WORD.finditer(text.casefold()):
        yield found[0][:_MAX_LENGTH]


def query_terms(question: str) -> tuple[str, ...]:
    """What is looked for: "where is a dog" is ("dog",); a question of stop words only means them all."""
    asked = tuple(dict.fromkeys(words(question)))
    return tuple(word for word in asked if word not in _STOP_WORDS) or asked


def record_terms(record: Any) -> set[str]:
    """The words of all strings in a record, whatever its columns are; names of columns do not count.

    Of a list of guesses (each with a "score", best first) only the first and those of at least 0.2.
    """
    return set(_terms(record))


def _terms(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from words(value)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _terms(inner)
    elif isinstance(value, Iterable) and not isinstance(value, bytes):
        for rank, inner in enumerate(value):
            if rank == 0 or not _is_unsure(inner):
                yield from _terms(inner)


def _is_unsure(guess: Any) -> bool:
    score = guess.get("score") if isinstance(guess, Mapping) else None
    return isinstance(score, float | int) and score < _SURE


def matches(record: Any, terms: Iterable[str]) -> bool:
    """Whether every term is the beginning of some word of the record."""
    found = record_terms(record)
    return all(any(word.startswith(term) for word in found) for term in terms)
