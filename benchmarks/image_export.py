"""Exports of images on two worker processes, beside a plain script with Pillow in two; and the memory of both sides."""

import contextlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks import usage
from benchmarks.figures import Row, show
from benchmarks.harness import Bench

NAME, MANY = "bench_images", "bench_many_images"
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "retina.jpg", "rocket.jpg")
FIELDS = [
    {"name": "id", "type": "integer", "required": True},
    {"name": "photo", "type": "image", "stored_as": "path"},
]
STEPS = [{"op": "image_random_crop", "width": 0.8, "height": 0.8}, {"op": "image_resize", "width": 256, "height": 256}]
SIDE = 500
ROUNDS = 3
TARGET = 0.8
# MiB that ten times as many images may take more of a process.
GROWTH = 32.0


def run(bench: Bench) -> Iterator[Row]:
    """Yield the rate beside that of the script, and the memory of worker and API for ten times as many images."""
    images = bench.folder / "images"
    count = bench.size(10_000, 400, brief=2000)
    _photographs(images / "large", count)
    _records(bench, NAME, [f"large/{number:06}.jpg" for number in range(count)])
    with _two_processes(bench) as worker:
        rates: dict[str, list[float]] = {"export": [], "script": []}
        for _ in range(bench.size(ROUNDS, 1, brief=2)):
            rates["script"].append(count / _script(bench, images / "large"))
            rates["export"].append(count / _export(bench, NAME, count))
        exported, scripted = (statistics.median(rates[name]) for name in ("export", "script"))
        yield Row(
            f"export of {count:,} images of {SIDE} × {SIDE}, crop and resize, 2 processes: start to end of the job",
            f"{show(exported)} images/s, {show(exported / scripted)} × a script with Pillow in 2 processes"
            f" ({show(scripted)} images/s)",
            f"≥ {TARGET:g} × the script",
            exported >= TARGET * scripted,
            {"images": count, **rates},
            figure=exported / scripted,
        )
        yield from _memory(bench, worker, images)
    bench.drop(NAME)
    bench.drop(MANY)


def _memory(bench: Bench, worker: int, images: Path) -> Iterator[Row]:
    """Yield what worker and API take for an export and the download of its zip, with one and with ten times as many."""
    few, many = (bench.size(size, size // 10) for size in (10_000, 100_000))
    Image.new("RGB", (16, 16), "red").save(images / "small.jpg")
    _records(bench, MANY, ["small.jpg"] * many)
    peaks: list[dict[str, float]] = []
    for size in (few, many):
        pids = {"worker": worker, "api": bench.pids()["api"]}

        def work(wanted: int = size) -> None:
            job = bench.client.export_images(MANY, where={"id": {"lt": wanted}}, steps=STEPS[1:], wait=True)
            sink = _Sink()
            bench.client.download_export(job["id"], sink)  # type: ignore[arg-type]
            if (job["result"]["images"], sink.size) != (wanted, job["result"]["bytes"]):
                raise RuntimeError(f"{job['result']} and a zip of {sink.size} bytes")
            bench.client.delete_export(job["id"], wait=True)

        peaks.append(_peaks(pids, work))
    for kind in ("worker", "api"):
        grown = peaks[1][kind] - peaks[0][kind]
        yield Row(
            f"private memory of the {kind}, export and zip of {few:,} and of {many:,} images",
            f"{show(peaks[0][kind])} and {show(peaks[1][kind])} MiB",
            f"≤ {GROWTH:g} MiB more",
            grown <= GROWTH,
            {"few": few, "many": many, "mib": [one[kind] for one in peaks]},
            figure=grown,
            lower=True,
        )


def _peaks(pids: dict[str, int], work: Callable[[], None]) -> dict[str, float]:
    """Return the most private memory of each kind while ``work`` goes on, in MiB."""
    found = dict.fromkeys(pids, 0.0)
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            for kind in pids:
                found[kind] = max(found[kind], usage.private_mib(pids, kind))

    watch = threading.Thread(target=look)
    watch.start()
    try:
        work()
    finally:
        ended.set()
        watch.join()
    return found


class _Sink:
    """A file that keeps nothing."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        return len(data)


def _export(bench: Bench, name: str, count: int) -> float:
    """Export all images; return the seconds from the start of the job to its end: that of the script is not counted."""
    job = bench.client.export_images(name, steps=STEPS, seed=1, wait=True)
    if job["result"]["images"] != count:
        raise RuntimeError(f"{job['result']}")
    began, ended = bench.row("SELECT started_at, finished_at FROM gristmill.jobs WHERE id = %s", (job["id"],))
    bench.client.delete_export(job["id"], wait=True)
    return float((ended - began).total_seconds())


def _script(bench: Bench, folder: Path) -> float:
    target = bench.folder / "script"
    command = [sys.executable, "-m", "benchmarks.plain_images", str(folder), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    shutil.rmtree(target)
    return float(done.stdout)


def _records(bench: Bench, name: str, paths: list[str]) -> None:
    bench.client.create_dataset({"name": name, "fields": FIELDS, "key": ["id"]}, wait=True)
    records: list[dict[str, Any]] = [{"id": number, "photo": path} for number, path in enumerate(paths)]
    bench.client.submit(name, records, wait=True)
    bench.wait_idle()


def _photographs(folder: Path, count: int) -> None:
    """Write JPEG files, each another part of a photograph."""
    folder.mkdir(parents=True)
    chance = random.Random(13)
    originals = []
    for name in PHOTOGRAPHS:
        with (files("skimage") / "data" / name).open("rb") as file:
            image = Image.open(file).convert("RGB")
        scale = 1.4 * SIDE / min(image.size)
        originals.append(image.resize((round(image.width * scale), round(image.height * scale))))
    for number in range(count):
        image = originals[number % len(originals)]
        left, top = chance.randint(0, image.width - SIDE), chance.randint(0, image.height - SIDE)
        image.crop((left, top, left + SIDE, top + SIDE)).save(folder / f"{number:06}.jpg", quality=85)


@contextlib.contextmanager
def _two_processes(bench: Bench) -> Iterator[int]:
    """Run a worker for long jobs with two processes in place of the stack's own, which has one; give its pid."""
    bench.stop_service("app", "worker-long")
    settings = bench.settings
    given = {name: str(getattr(settings, name)) for name in ("database_url", "broker_url", "storage_url", "images_url")}
    given["worker_long_processes"] = "2"
    environment = {**os.environ, **{f"GRISTMILL_{name.upper()}": value for name, value in given.items()}}
    with (bench.folder / "worker-long.log").open("wb") as log:
        command = [sys.executable, "-m", "gristmill.worker", "--queue", "long"]
        process = subprocess.Popen(command, env=environment, cwd=bench.folder, stdout=log, stderr=log)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)
        bench.up()
