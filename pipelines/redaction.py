"""Takes secrets out of what is to be written down: those that are known, and all that looks like one. Pure."""

import re
from collections.abc import Iterable, Mapping

HIDDEN = "[hidden]"
_SHORTEST_SECRET = 8
_VARIABLE = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.I)
_NAMES = "authorization|credential|passwo?r?d|secret|token|signature|api[_-]?key|access[_-]?key|private[_-]?key"
_PARAMETERS = r"sig|key|code|awsaccesskeyid|x-amz-[\w-]+|x-goog-[\w-]+|[\w-]*token"
_PRIVATE_KEY = r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
# Keys that tell themselves: ours, RunPod's, AWS's, JWTs.
_SHAPES = (
    r"aima_ak_[0-9a-f]{16}_\w+",
    r"rpa_\w{16,}",
    r"(?:AKIA|ASIA)[A-Z0-9]{16}",
    r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
)
_PATTERNS = (
    (re.compile(_PRIVATE_KEY, re.S), HIDDEN),
    # Authorization: Bearer ...
    (re.compile(r"\b(bearer|basic)(\s+)[\w.~+/=-]{8,}", re.I), rf"\1\2{HIDDEN}"),
    # postgresql://user:password@host
    (re.compile(r"(\w://[^\s/:@]*:)[^\s/@]+(?=@)"), rf"\1{HIDDEN}"),
    # ?X-Amz-Signature=...&sig=...
    (re.compile(rf"([?&;](?:{_PARAMETERS})=)[^&\s\"'<>]+", re.I), rf"\1{HIDDEN}"),
    # RUNPOD_API_KEY=..., "secret": "...", token='...'
    (
        re.compile(
            rf"((?:{_NAMES})[\w.-]{{0,40}}[\"']?\s*[:=]\s*[\"']?)(?!(?:bearer|basic)\b)[^\s\"',;&}}\])]{{6,}}", re.I
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(rf"\b(?:{'|'.join(_SHAPES)})"), HIDDEN),
    # The cluster's own tokens: 64 hexadecimal digits that are no image's digest.
    (re.compile(r"(?<!sha256:)(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])"), HIDDEN),
)


def without_secrets(text: str, known: Iterable[str] = ()) -> str:
    """The text with every `known` secret hidden, and all that looks like one."""
    for secret in known:
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def secrets_of(environment: Mapping[str, str]) -> list[str]:
    """Values of variables whose names say that they are secret, longest first; what is short or a path is none."""
    named = {value for name, value in environment.items() if _VARIABLE.search(name)}
    return sorted((v for v in named if len(v) >= _SHORTEST_SECRET and not v.startswith("/")), key=len, reverse=True)
