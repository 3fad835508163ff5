"""What an export of images is measured beside: a plain script with Pillow in two processes, of which nothing is kept.

``python -m benchmarks.plain_images SOURCE TARGET`` crops each file of a folder at random to 0.8 of its sides, resizes
it to 256 × 256, and writes it with the same encoder options; it prints the seconds that took, without its start.
"""

import multiprocessing
import random
import sys
import time
from pathlib import Path

from PIL import Image

SHARE, SIDE = 0.8, 256


def change(paths: tuple[str, str]) -> None:
    """Change one file. paths: of the file, and of what is made."""
    source, target = paths
    image: Image.Image = Image.open(source).convert("RGB")
    width, height = round(image.width * SHARE), round(image.height * SHARE)
    left, top = random.randint(0, image.width - width), random.randint(0, image.height - height)
    image = image.crop((left, top, left + width, top + height))
    image.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(target, "JPEG", quality=90, subsampling=0)


def main(source: str, target: str) -> None:
    Path(target).mkdir(parents=True)
    work = [(str(path), f"{target}/{path.name}") for path in sorted(Path(source).iterdir())]
    with multiprocessing.Pool(2) as pool:
        started = time.monotonic()
        for _ in pool.imap_unordered(change, work, chunksize=50):
            pass
        print(time.monotonic() - started)


if __name__ == "__main__":
    main(*sys.argv[1:])
