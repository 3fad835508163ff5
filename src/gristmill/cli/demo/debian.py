"""Texts out of the package lists of a Debian or Ubuntu machine: what each program is for."""

import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

PACKAGES: dict[str, Any] = {
    "name": "demo_packages",
    "fields": [
        {"name": "name", "type": "text", "required": True, "max_length": 128},
        {"name": "section", "type": "text", "required": True, "max_length": 64, "filterable": True},
        {"name": "installed_kb", "type": "integer", "minimum": 0, "filterable": True},
        {"name": "homepage", "type": "text"},
        {"name": "summary", "type": "text", "required": True},
    ],
    "key": ["name"],
    "embedding": {"from": ["summary"], "embedder": "static", "metric": "cosine"},
}
# Sections of programs that people run; the others hold the libraries of each language, by the thousand.
_SECTIONS = frozenset(
    (
        *("admin", "comm", "database", "editors", "education", "electronics", "embedded", "games", "gnome", "graphics"),
        *("hamradio", "httpd", "interpreters", "kde", "mail", "math", "misc", "net", "news", "science", "shells"),
        *("sound", "tex", "text", "utils", "vcs", "video", "web", "x11", "xfce"),
    )
)
_MOST = 10_000
_SECONDS = 60


def available() -> str:
    """Return what apt knows of, one stanza per package; "" where there is no apt."""
    command = shutil.which("apt-cache")
    if command is None:
        return ""
    try:
        done = subprocess.run([command, "dumpavail"], capture_output=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", errors="replace")


def programs(stanzas: str) -> list[dict[str, Any]]:
    """Return up to 10,000 records in the order of their names, one for each program.

    A package that names a ``Source`` is a part of another one (its data, its libraries) and says nearly the same.
    """
    found: dict[str, dict[str, Any]] = {}
    for stanza in stanzas.split("\n\n"):
        fields = _fields(stanza.splitlines())
        # Elsewhere than in Debian's main the section has the name of the component before it: universe/games.
        section = fields.get("Section", "").rpartition("/")[2]
        name, summary = fields.get("Package"), fields.get("Description") or fields.get("Description-en")
        if name and summary and section in _SECTIONS and "Source" not in fields:
            size = fields.get("Installed-Size", "")
            found[name] = {
                "name": name,
                "section": section,
                "installed_kb": int(size) if size.isdecimal() else None,
                "homepage": fields.get("Homepage"),
                "summary": summary,
            }
    return [found[name] for name in sorted(found)][:_MOST]


def _fields(lines: Iterable[str]) -> dict[str, str]:
    # Lines that start with a blank go on with the field before; none of them is needed.
    pairs = (line.split(": ", 1) for line in lines if line[:1].strip())
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
