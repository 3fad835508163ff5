"""Texts out of the package botocore (Apache License 2.0): what some 20,000 operations of cloud services do."""

import gzip
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gristmill.cli.demo.files import package_folder

OPERATIONS: dict[str, Any] = {
    "name": "demo_operations",
    "fields": [
        {"name": "service", "type": "text", "required": True, "max_length": 64, "filterable": True},
        {"name": "operation", "type": "text", "required": True, "max_length": 128},
        {"name": "title", "type": "text"},
        {"name": "summary", "type": "text", "required": True},
    ],
    "key": ["service", "operation"],
    "embedding": {"from": ["summary"], "embedder": "static", "metric": "cosine"},
}
_PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")


def operations() -> Iterator[dict[str, Any]]:
    """Yield a record for each operation that is described, service by service. Raises DemoDataMissing."""
    for service in sorted((package_folder("botocore") / "data").iterdir()):
        # A service may be described in several versions; the last one is current.
        files = [file for version in _folders(service) for file in version.iterdir()]
        described = [file for file in files if file.name in ("service-2.json", "service-2.json.gz")]
        if not described:
            continue
        content = described[-1].read_bytes()
        model = json.loads(gzip.decompress(content) if described[-1].name.endswith(".gz") else content)
        for name, operation in model["operations"].items():
            if summary := _summary(operation.get("documentation", "")):
                title = model["metadata"]["serviceFullName"]
                yield {"service": service.name, "operation": name, "title": title, "summary": summary}


def _summary(documentation: str) -> str:
    """Return the first paragraph of an HTML text as plain text, or ""."""
    for paragraph in _PARAGRAPH.findall(documentation) or [documentation]:
        if text := " ".join(html.unescape(_TAG.sub("", paragraph)).split()):
            return text
    return ""


def _folders(parent: Path) -> list[Path]:
    return sorted(entry for entry in parent.iterdir() if entry.is_dir()) if parent.is_dir() else []
