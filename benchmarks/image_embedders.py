"""Embedders of images without weights: JPEGs of 500 × 500 pixels on one core, beside decoding them alone."""

import io
import time
from collections.abc import Callable, Iterator
from importlib.resources import files

from PIL import Image

from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from gristmill.images.embedders.layout import LayoutEmbedder
from gristmill.images.embedders.phash import HashEmbedder
from gristmill.images.reader import ImageReader

SIDE, TARGET, ROUNDS = 500, 300, 3
# Photographs that scikit-image ships.
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "retina.jpg", "rocket.jpg")


def run(bench: Bench) -> Iterator[Row]:
    """Yield images per second of hash and layout together, of each, and of decoding."""
    images = _images(bench.size(600, 60))
    reader = ImageReader(None, 2**30, 2**30)
    made_hash, made_layout = HashEmbedder(reader), LayoutEmbedder(reader)
    decoding = _rate(images, lambda: [reader.decode(image).load() for image in images])
    hashes = _rate(images, lambda: made_hash.embed(images))
    layouts = _rate(images, lambda: made_layout.embed(images))
    both = _rate(images, lambda: (made_hash.embed(images), made_layout.embed(images)))
    yield Row(
        f"hash and layout of JPEGs of {SIDE} × {SIDE}, one core",
        f"{show(both)} images/s (hash {show(hashes)}, layout {show(layouts)}; decoding alone {show(decoding)})",
        f"≥ {TARGET} images/s",
        both >= TARGET,
        {"both": both, "hash": hashes, "layout": layouts, "decoding": decoding},
        figure=both,
    )


def _images(count: int) -> list[bytes]:
    made = []
    for name in PHOTOGRAPHS:
        with (files("skimage") / "data" / name).open("rb") as file:
            image = Image.open(file).convert("RGB").resize((SIDE, SIDE))
        target = io.BytesIO()
        image.save(target, "JPEG", quality=90)
        made.append(target.getvalue())
    return [made[place % len(made)] for place in range(count)]


def _rate(images: list[bytes], work: Callable[[], object]) -> float:
    """Return images per second of processor time, the best of some rounds."""
    best = 0.0
    for _ in range(ROUNDS):
        begun = time.process_time()
        work()
        best = max(best, len(images) / (time.process_time() - begun))
    return best
