"""How long to wait before the next attempt."""

from collections.abc import Callable

_FIRST_S, _LONGEST_S = 0.2, 8.0


def pause_s(attempt: int, draw: Callable[[], float]) -> float:
    """Seconds before attempt number `attempt` (from 1): doubling from 0.2 to 8, scattered by `draw`, a number in 0..1.

    Scattered between half and the whole, so that machines that lost the same hub do not come back at the same moment.
    """
    return min(_LONGEST_S, _FIRST_S * 2.0 ** min(attempt - 1, 16)) * (0.5 + draw() / 2)
