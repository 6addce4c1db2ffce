"""What may be asked of an analyzer: options as data, so that a request can be checked before anything is bought."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pipelines.errors import InvalidOption


class Option(Protocol):
    """One option of an analyzer."""

    @property
    def default(self) -> Any:
        """What holds when nothing is said."""
        ...

    @property
    def allowed(self) -> str:
        """In words, what is allowed."""
        ...

    def accepts(self, value: Any) -> bool:
        """Whether this value is allowed."""
        ...


@dataclass(frozen=True)
class Number:
    """A number within [minimum, maximum]; `above` excludes the minimum itself, `whole` asks for an integer."""

    default: float
    minimum: float
    maximum: float
    above: bool = False
    whole: bool = False

    @property
    def allowed(self) -> str:
        """See Option."""
        kind = "a whole number" if self.whole else "a number"
        first = f"above {self.minimum:g} up" if self.above else f"from {self.minimum:g}"
        return f"{kind} {first} to {self.maximum:g}"

    def accepts(self, value: Any) -> bool:
        """See Option."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        if self.whole and value != int(value):
            return False
        return self.minimum <= value <= self.maximum and not (self.above and value == self.minimum)


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    default: str
    values: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """See Option."""
        return "one of: " + ", ".join(self.values)

    def accepts(self, value: Any) -> bool:
        """See Option."""
        return isinstance(value, str) and value in self.values


@dataclass(frozen=True)
class Word:
    """A string that matches a regular expression as a whole; `allowed` says in words what that means."""

    default: str
    pattern: str
    allowed: str

    def accepts(self, value: Any) -> bool:
        """See Option."""
        return isinstance(value, str) and re.fullmatch(self.pattern, value) is not None


@dataclass(frozen=True)
class ModelFile(Word):
    """A Word that may also say where a model's file or folder lies; a service lets strangers name few such places."""

    @staticmethod
    def place(value: str) -> str:
        """The path or s3:// address; empty for a model's name."""
        location = value.partition("#")[0]
        return location if location.startswith(("/", "~", ".", "s3://")) else ""


def checked(analyzer: str, options: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given values, whole numbers as int. Raises InvalidOption for the first that is unknown or not allowed."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in options:
            raise InvalidOption(analyzer, name, value, f"its options are: {', '.join(options) or 'none'}")
        option = options[name]
        if not option.accepts(value):
            raise InvalidOption(analyzer, name, value, f"allowed: {option.allowed}")
        values[name] = int(value) if isinstance(option, Number) and option.whole else value
    return values
