"""Where models run."""

from importlib.util import find_spec


def pick_device() -> str:
    """ "cuda" where a GPU can be used, else "cpu". Imports torch."""
    if find_spec("torch") is None:
        return "cpu"
    import torch  # noqa: PLC0415

    return "cuda" if torch.cuda.is_available() else "cpu"
