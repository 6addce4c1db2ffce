"""Text that somebody else may have chosen, made fit to be kept and shown: one line, printable, of a bounded length.

Machines and clouds choose some of what the ledger keeps: why a machine is unfit, which address it asked for, what its
log ends with. Such text must not forge a second line, move a terminal's cursor, or fill a disk.
"""

import unicodedata

# Of one sentence, in UTF-8. An honest one takes a third of it.
SENTENCE_BYTES = 800
NAME_CHARACTERS = 128
# Control characters, invisible formatting (it can turn the direction of text), lone surrogates, line separators.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_CUT = "..."


def printable(text: str, limit_bytes: int = SENTENCE_BYTES) -> str:
    """`text` as one printable line of at most `limit_bytes` in UTF-8; what does not fit is cut off at the end.

    Line breaks and tabs become spaces, whatever else cannot be printed becomes a question mark.
    """
    text = text[: limit_bytes + 1]  # before any work on it
    if not (text.isascii() and text.isprintable()):
        text = "".join(map(_shown, text))
    encoded = text.encode()
    if len(encoded) <= limit_bytes:
        return text
    return encoded[: limit_bytes - len(_CUT)].decode(errors="ignore") + _CUT


def _shown(character: str) -> str:
    if character in "\n\r\t\u2028\u2029":
        return " "
    return "?" if unicodedata.category(character) in _UNPRINTABLE else character
