"""Checks that Ray is as a patch needs it. Each says "" or, in a short sentence, what is different."""

from dataclasses import dataclass

from cluster.ray_patches.ray_source import RaySource


@dataclass(frozen=True)
class Contains:
    """A file contains these texts: a name that is imported, an option, a line that is relied on."""

    file: str
    fragments: tuple[str, ...]

    def why_not(self, ray: RaySource) -> str:
        if not (text := ray.text(self.file)):
            return f"ray/{self.file} is missing"
        lost = [fragment for fragment in self.fragments if fragment not in text]
        return f"ray/{self.file} has no {lost[0].strip()!r}" if lost else ""


@dataclass(frozen=True)
class Unchanged:
    """A function or class is, word for word, the one that was read when the patch was written."""

    file: str
    name: str
    digest: str

    def why_not(self, ray: RaySource) -> str:
        found = ray.digest(self.file, self.name)
        if not found:
            return f"ray/{self.file} has no {self.name}"
        if found == self.digest:
            return ""
        return f"{self.name} in ray/{self.file} has changed (digest {found}, proved with {self.digest})"


Check = Contains | Unchanged


def contains(file: str, *fragments: str) -> Contains:
    """Of a file below Ray's package."""
    return Contains(file, fragments)
