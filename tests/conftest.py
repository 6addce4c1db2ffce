"""How every test runs."""

from hypothesis import settings

# An example's time says how busy the machine is; what takes too long is a benchmark's business.
settings.register_profile("noisy-machine", deadline=None)
settings.load_profile("noisy-machine")
