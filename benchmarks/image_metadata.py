"""Metadata of images: ten columns with the path of an image, beside the same CSV with that path as a text."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from benchmarks.uploads import Load, middle, upload

TARGET = 0.95
ROUNDS = 5
_TEXTS = {
    "gender": ("Men", "Women", "Boys", "Girls", "Unisex"),
    "master_category": ("Apparel", "Footwear", "Accessories"),
    "sub_category": ("Topwear", "Shoes", "Watches", "Bottomwear"),
    "article_type": ("Shirts", "Casual Shoes", "Watches", "Jeans"),
    "base_colour": ("Navy Blue", "Black", "Silver", "Grey"),
    "season": ("Fall", "Summer", "Winter", "Spring"),
}
_NAME = "bench_images"


def run(bench: Bench) -> Iterator[Row]:
    """Yield the rate with a path of an image, and its share of the rate with a text, loaded in turns."""
    count = bench.size(1_000_000, 100_000)
    path = _write(bench.folder / "styles.csv", count)
    kinds: dict[str, dict[str, Any]] = {"text": {"type": "text"}, "image": {"type": "image", "stored_as": "path"}}
    loads: dict[str, list[Load]] = {kind: [] for kind in kinds}
    for turn in range(bench.size(ROUNDS, 3) + 1):
        for kind, field in kinds.items():
            load = _once(bench, path, count, field)
            if turn:
                # In the first turn every process goes this way for the first time.
                loads[kind].append(load)
    rates = {kind: middle(found).rate for kind, found in loads.items()}
    ratio = rates["image"] / rates["text"]
    rounds = {kind: [round(load.rate) for load in found] for kind, found in loads.items()}
    yield Row(
        f"CSV of 10 columns with the path of an image: {count:,} rows, {show(path.stat().st_size / 2**20)} MiB",
        f"{rates['image']:,.0f} rows/s, {ratio:.2f} × the same with a text ({rates['text']:,.0f} rows/s)",
        f"≥ {TARGET} ×",
        ratio >= TARGET,
        {**middle(loads["image"]).values(), "ratio": round(ratio, 3), "rounds": rounds},
        rates["image"],
    )


def _write(path: Path, count: int) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", *_TEXTS, "year", "product_name", "photo"])
        for number in range(count):
            texts = [values[number * 7 % len(values)] for values in _TEXTS.values()]
            name = f"{texts[4]} {texts[3]}, No. {number}"
            writer.writerow([number, *texts, 2000 + number % 20, name, f"images/{number // 1000}/{number}.jpg"])
    return path


def _once(bench: Bench, path: Path, count: int, photo: dict[str, Any]) -> Load:
    fields = [
        {"name": "id", "type": "integer", "required": True},
        *({"name": name, "type": "text"} for name in _TEXTS),
        {"name": "year", "type": "integer"},
        {"name": "product_name", "type": "text"},
        {"name": "photo", **photo},
    ]
    bench.client.create_dataset({"name": _NAME, "fields": fields, "key": ["id"]}, wait=True)
    bench.wait_idle()
    try:
        return upload(bench, _NAME, path, count)
    finally:
        bench.drop(_NAME)
