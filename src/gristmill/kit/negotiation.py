"""What a client would rather have: the lists with weights of Accept and Accept-Encoding (RFC 9110, 12)."""

import re
from collections.abc import Sequence

_WEIGHT = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def read_weights(header: str) -> dict[str, float]:
    """Return each member of the list in small letters, without parameters, and its weight from 0 to 1."""
    found: dict[str, float] = {}
    for member in header.split(","):
        name, *parameters = (part.strip().lower() for part in member.split(";"))
        if not name:
            continue
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q" and _WEIGHT.fullmatch(value.strip()):
                weight = float(value)
        # Of two that differ in parameters alone the better one counts.
        found[name] = max(weight, found.get(name, 0.0))
    return found


def best_coding(header: str, offered: Sequence[str]) -> str | None:
    """Return the coding that an Accept-Encoding prefers, the first one ``offered`` of equals; None for no coding."""
    weights = read_weights(header)
    best, most = None, 0.0
    for name in offered:
        # What a star stands for is not asked for: only what is named is sure to be understood.
        weight = weights.get(name, 0.0)
        if weight > most:
            best, most = name, weight
    return best if most >= weights.get("identity", 0.0) or "identity" not in weights else None


def best_type(header: str, offered: Sequence[str]) -> str | None:
    """Return the media type that an Accept prefers, the first one ``offered`` of equals; None if it takes none of them.

    The most specific range that fits a type gives its weight. An empty header takes everything.
    """
    weights = read_weights(header) or {"*/*": 1.0}
    best, most = None, 0.0
    for name in offered:
        ranges = (name, f"{name.split('/')[0]}/*", "*/*")
        weight = next((weights[one] for one in ranges if one in weights), 0.0)
        if weight > most:
            best, most = name, weight
    return best
