"""The format of an answer: what a client would rather have, of those that there are."""

from collections.abc import Mapping, Sequence

from gristmill.core.errors import NotAcceptable
from gristmill.kit.negotiation import best_type


def accepted_format(accept: Sequence[str], formats: Mapping[str, str], what: str) -> str:
    """Return the format that Accept headers prefer. Raises NotAcceptable if they take none that there is.

    formats: their names by media types, the one that is preferred first. what: is answered, for the refusal.
    """
    header = ", ".join(accept)
    chosen = best_type(header, [*formats])
    if chosen is None:
        valid = ", ".join(formats)
        raise NotAcceptable(f"Accept: {header[:80]!r} takes no format of {what}; there are: {valid}; or give format")
    return formats[chosen]
