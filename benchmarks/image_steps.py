"""A crop and a resize of photographs: as two steps of a pipeline, as an export does both, and by plain Pillow."""

import io
import random
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pyarrow as pa
from PIL import Image

from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from benchmarks.steps import timed
from gristmill.bootstrap.embedders import build_embedders
from gristmill.bootstrap.images import build_images
from gristmill.bootstrap.steps import build_steps
from gristmill.core.config import Settings
from gristmill.datasets.contract import load_contract
from gristmill.datasets.pipeline import bind_pipeline
from gristmill.images.encode import encode, format_of
from gristmill.images.steps.base import chance_of, parse_operations
from gristmill.transforms.run import run as run_steps
from gristmill.transforms.spec import StepContext

IMAGES, SIDE, ROUNDS = 400, 500, 3
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
CROP = {"op": "image_random_crop", "width": 0.8, "height": 0.8}
RESIZE = {"op": "image_resize", "width": 256, "height": 256}
LIMIT = 1.15


def run(bench: Bench) -> Iterator[Row]:
    """Yield the rates, and what they are of plain Pillow's."""
    photos = _photographs(bench.size(IMAGES, 20))
    plain = timed(lambda: _by_pillow(photos), ROUNDS)
    once = timed(lambda: _as_export(photos), ROUNDS)
    steps = timed(lambda: _as_pipeline(photos), ROUNDS)
    count, what = len(photos), f"crop to 0.8 and resize to 256 × 256, {len(photos)} JPEGs of {SIDE} × {SIDE}, one core"
    yield Row(
        f"{what}, decoded and encoded once",
        f"{count / once:,.0f} images/s, {show(once / plain)} × the time of plain Pillow ({count / plain:,.0f}/s)",
        f"≤ {LIMIT} ×",
        once <= LIMIT * plain,
        {"ours": once, "plain": plain},
    )
    yield Row(
        f"{what}, as two steps of a pipeline",
        f"{count / steps:,.0f} images/s, {show(steps / plain)} × plain Pillow: each step decodes and encodes",
        values={"ours": steps, "plain": plain},
    )


def _photographs(count: int) -> list[bytes]:
    """Return JPEGs of parts of the photographs that scikit-image ships."""
    draw, whole = random.Random(3), []
    for name in PHOTOGRAPHS:
        with (files("skimage") / "data" / name).open("rb") as file:
            whole.append(Image.open(file).convert("RGB").resize((SIDE + 60, SIDE + 60)))
    found = []
    for number in range(count):
        left, top = draw.randrange(60), draw.randrange(60)
        target = io.BytesIO()
        part = whole[number % len(whole)].crop((left, top, left + SIDE, top + SIDE))
        part.save(target, "JPEG", quality=90)
        found.append(target.getvalue())
    return found


def _by_pillow(photos: list[bytes]) -> list[bytes]:
    draw, made = random.Random(0), []
    for data in photos:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        width, height = round(image.width * 0.8), round(image.height * 0.8)
        left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
        image = image.crop((left, top, left + width, top + height)).resize((256, 256), Image.Resampling.LANCZOS)
        target = io.BytesIO()
        image.save(target, "JPEG", quality=90, subsampling=0)
        made.append(target.getvalue())
    return made


def _as_export(photos: list[bytes]) -> list[bytes]:
    images = build_images(Settings())
    assert images is not None
    changes = [kind.make(step) for kind, step in parse_operations([CROP, RESIZE], images.operations)]
    made = []
    for data in photos:
        before = image = images.reader.decode(data)
        for place, change in enumerate(changes):
            image = change(image, chance_of(data, 0, place))
        made.append(encode(image, format_of(before)))
    return made


def _as_pipeline(photos: list[bytes]) -> list[bytes]:
    settings = Settings()
    pipeline: list[dict[str, Any]] = [{**CROP, "column": "photo"}, {**RESIZE, "column": "photo"}]
    contract = load_contract({"name": "b", "fields": [{"name": "photo", "type": "image"}], "pipeline": pipeline})
    images = build_images(settings)
    steps = bind_pipeline(contract, build_steps(settings, build_embedders(settings, images), images))
    table = pa.table({"photo": pa.array(photos, pa.binary())})
    found: list[bytes] = run_steps(steps, table, StepContext()).table.column("photo").to_pylist()
    return found
