"""Which fault strikes when: a pure function of the seed. Times are seconds from the beginning."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Habit:
    """How a kind of fault comes: it lasts so long (least, most), and rests for `rest_s` before it strikes again.

    `group`: each group gets the same number of strikes, however many kinds it has. `stops`: the cloud from which the
    product buys nothing for minutes afterwards, as it should. If all were struck so, nothing could be seen but waiting:
    see `bearable`.
    """

    lasts_s: tuple[float, float] = (0.0, 0.0)
    rest_s: float = 0.0
    group: str = "machines"
    stops: str = ""


@dataclass(frozen=True)
class Strike:
    """One fault to be: `at_s` it begins, `lasts_s` it goes on. `seed` decides all that is open about it."""

    at_s: float
    kind: str
    lasts_s: float
    seed: int


def plan(
    seed: int, duration_s: float, habits: Mapping[str, Habit], pause_s: tuple[float, float] = (4.0, 9.0)
) -> list[Strike]:
    """Strikes in their order, `pause_s` (least, most) apart; of a group, every kind once before any comes again.

    A kind whose rest is not over waits for its turn. Raises ValueError without kinds.
    """
    if not habits:
        raise ValueError("habits: at least one kind of fault must be there")
    chance = random.Random(seed)
    strikes: list[Strike] = []
    groups = sorted({habit.group for habit in habits.values()})
    bags: dict[str, list[str]] = {group: [] for group in groups}
    free_at: dict[str, float] = {}
    now = chance.uniform(1.0, 3.0)
    while now < duration_s:
        group = groups[len(strikes) % len(groups)]
        if not bags[group]:
            bags[group] = sorted(kind for kind, habit in habits.items() if habit.group == group)
            chance.shuffle(bags[group])
        if (kind := _first_free(bags[group], free_at, now)) is not None:
            bags[group].remove(kind)
            lasts_s = round(min(chance.uniform(*habits[kind].lasts_s), duration_s - now), 2)
            free_at[kind] = now + lasts_s + habits[kind].rest_s
            strikes.append(Strike(round(now, 2), kind, lasts_s, chance.randrange(2**31)))
        now += chance.uniform(*pause_s)
    return strikes


def _first_free(bag: Sequence[str], free_at: Mapping[str, float], now: float) -> str | None:
    return next((kind for kind in bag if free_at.get(kind, 0.0) <= now), None)


def bearable(seed: int, habits: Mapping[str, Habit]) -> dict[str, Habit]:
    """Without those that stop a cloud, but for one cloud that the seed chooses."""
    stopped = sorted({habit.stops for habit in habits.values() if habit.stops})
    weak = random.Random(seed ^ 0x5EED).choice(stopped) if stopped else ""
    return {kind: habit for kind, habit in habits.items() if habit.stops in ("", weak)}
