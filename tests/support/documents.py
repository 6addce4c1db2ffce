"""The documents of the repository, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    "README.md",
    ".github/CONTRIBUTING.md",
    "autoscaler/clouds/ADDING_A_CLOUD.md",
    "autoscaler/FAILURES.md",
    "cluster/OPERATING.md",
    "cluster/config/SETTINGS.md",
    "tests/benchmarks/MEASURED.md",
    "cluster/overlay/SECURITY.md",
    "k8s/README.md",
    "pipelines/analyzers/ADDING_AN_ANALYZER.md",
)
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
_PARTS = re.compile(r"\s(?:&&|\|\||\||;)\s")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, its language, its text."""

    document: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.document}:{self.line}"


def blocks(language: str) -> list[Block]:
    """Every block of this language in every document."""
    found = []
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            if match[1] == language:
                found.append(Block(document, text[: match.start()].count("\n") + 1, language, match[2]))
    return found


def commands(block: Block) -> Iterator[list[str]]:
    """The single commands of a shell block, as words without variables set before them."""
    joined = re.sub(r"\\\n\s*", " ", block.text)
    for line in joined.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        for part in _PARTS.split(line):
            words = shlex.split(re.sub(r"^\w+=\$\((.*)\)$", r"\1", part.strip()))
            while words and re.fullmatch(r"\w+=.*", words[0]):
                words = words[1:]
            if words:
                yield words


def inline_commands(program: str) -> Iterator[tuple[str, list[str]]]:
    """Commands of this program between backticks in running text, by document."""
    for document in DOCUMENTS:
        text = _FENCE.sub("", (ROOT / document).read_text(encoding="utf-8"))
        for command in re.findall(rf"`({program} [^`]+)`", text):
            yield document, shlex.split(command)
