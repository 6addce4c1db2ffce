"""RunPod's published rate limits: several windows at once, told in headers."""

from dataclasses import dataclass, field

_WINDOWS = {"minute": (60, 60), "hour": (3_000, 3_600), "day": (50_000, 86_400)}


@dataclass
class RateWindows:
    """Counts the calls of one user in fixed windows."""

    _used: dict[tuple[str, int], int] = field(default_factory=dict)
    _day_used: int = 0

    def call(self, now: float) -> tuple[dict[str, str], bool]:
        """Count one call. Returns the headers of its answer, and whether it is refused."""
        keys = {name: (name, int(now // seconds)) for name, (_quota, seconds) in _WINDOWS.items()}
        left = {name: quota - self._used.get(keys[name], 0) for name, (quota, _seconds) in _WINDOWS.items()}
        refused = min(left.values()) <= 0
        if not refused:
            self._used = {key: self._used.get(key, 0) + 1 for key in keys.values()}
        resets = {name: seconds - int(now) % seconds for name, (_quota, seconds) in _WINDOWS.items()}
        remaining = {name: max(0, count - (not refused)) for name, count in left.items()}
        headers = {
            "RateLimit": ", ".join(f'"{name}";r={remaining[name]};t={resets[name]}' for name in _WINDOWS),
            "RateLimit-Policy": ", ".join(f'"{name}";q={q};w={w}' for name, (q, w) in _WINDOWS.items()),
        }
        if refused:
            headers["Retry-After"] = str(min(resets[name] for name in _WINDOWS if left[name] <= 0))
        return headers, refused

    def call_of_day(self, left: int) -> tuple[dict[str, str], bool]:
        """As `call`, while `left` calls were left of a day when this was first asked, and the day lasts."""
        refused = self._day_used >= left
        self._day_used += not refused
        headers = {"RateLimit": f'"minute";r=50;t=30, "day";r={left - self._day_used};t=39995'}
        return headers | ({"Retry-After": "39995"} if refused else {}), refused
