"""docs/transforms.md, the part of it that is made of the steps themselves: ``python -m tests.support.transforms_page``
writes it anew."""

import base64
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from tests.support.steps import STEPS

PAGE = Path(__file__).parents[2] / "docs" / "transforms.md"
MARK = "<!-- made of the steps: python -m tests.support.transforms_page -->\n"
_HIDDEN = ("double", "pair")


def made() -> str:
    """Return the section of each step, in the order of their names."""
    return "\n".join(_section(one) for one in STEPS.as_json() if one["op"] not in _HIDDEN)


def _section(step: dict[str, Any]) -> str:
    lines = [f"## `{step['op']}`", "", step["description"], ""]
    required = step["parameters"].get("required", [])
    lines += ["| parameter | value | default | meaning |", "|---|---|---|---|"]
    for name, schema in step["parameters"]["properties"].items():
        if name != "op":
            default = "required" if name in required else f"`{_text(schema.get('default'))}`"
            lines.append(f"| `{name}` | {_value(schema)} | {default} | {schema['description']} |")
    for example in step["examples"]:
        lines += ["", "```json", _text(example["step"]), "```", "", *_rows(example)]
    return "\n".join(lines) + "\n"


def _value(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{_text(one)}`" for one in schema["enum"])
    if "anyOf" in schema:
        return ", ".join(dict.fromkeys(_value(one) for one in schema["anyOf"]))
    if schema.get("type") == "array":
        return "list" if "prefixItems" in schema.get("items", {}) else f"list of {_value(schema['items'])}s"
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return " ".join([schema.get("type", "any value"), *bounds])


def _rows(example: dict[str, Any]) -> list[str]:
    return [
        "| before | after |",
        "|---|---|",
        f"| {'<br>'.join(f'`{_row(row)}`' for row in example['before'])} "
        f"| {'<br>'.join(f'`{_row(row)}`' for row in example['after']) or '–'} |",
    ]


def _row(row: dict[str, Any]) -> str:
    """Return a row; an image as its pixels, as its base64 says nothing to people."""
    members = (f"{_text(name)}: {_pixels(value) or _text(value)}" for name, value in row.items())
    return f"{{{', '.join(members)}}}"


def _pixels(value: Any) -> str | None:
    if not isinstance(value, str) or not value.startswith("iVBORw0KGgo"):
        return None
    image = Image.open(io.BytesIO(base64.b64decode(value)))
    each, data = len(image.getbands()), image.tobytes()
    pixels = [data[start : start + each].hex() for start in range(0, len(data), each)]
    rows = (" ".join(pixels[start : start + image.width]) for start in range(0, len(pixels), image.width))
    return f"<{image.width}×{image.height}: {' / '.join(rows)}>"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text().partition(MARK)[0] + MARK + "\n" + made())
