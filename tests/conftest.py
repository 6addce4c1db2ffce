"""How every test runs."""

from importlib.util import find_spec

from hypothesis import settings

# Side by side, where pytest-xdist is installed.
pytest_plugins = ["tests.support.side_by_side"] if find_spec("xdist") else []

# An example's time says how busy the machine is; what takes too long is a benchmark's business.
settings.register_profile("noisy-machine", deadline=None)
settings.load_profile("noisy-machine")
