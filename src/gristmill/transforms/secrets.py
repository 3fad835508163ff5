"""Secrets of the settings that steps name: a contract holds their name alone."""

import re
from collections.abc import Mapping

_MIN_LENGTH = 16
_NAME = re.compile("[a-z][a-z0-9_-]{0,47}")


def read_secrets(text: str) -> Mapping[str, bytes]:
    """Return the secrets that the setting ``transforms.secrets`` lists as ``name=secret``, by their names.

    Raises ValueError without showing a secret.
    """
    found: dict[str, bytes] = {}
    for item in text.split():
        name, mark, secret = item.partition("=")
        if not mark or not _NAME.fullmatch(name):
            raise ValueError("transforms.secrets: each item is name=secret, with a name of a-z, 0-9, _ and -")
        if len(secret) < _MIN_LENGTH:
            raise ValueError(f"transforms.secrets: the secret {name} has fewer than {_MIN_LENGTH} characters")
        if name in found:
            raise ValueError(f"transforms.secrets: there are two secrets called {name}")
        found[name] = secret.encode()
    return found
