"""Make an image data set of real photographs: a folder of JPEGs and a styles.csv, malformed lines included.

.venv/bin/python examples/fashion/load.py .gristmill/images/fashion 1000

The photographs are those that the package scikit-image ships; each product is another part of one, in another light.
The same number gives the same files. docs/fashion.md lists what is wrong with some of them on purpose.
"""

import csv
import io
import random
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image, ImageEnhance

HEADER = (
    "id", "gender", "masterCategory", "subCategory", "articleType", "baseColour", "season", "year", "usage",
    "productDisplayName",
)  # fmt: skip
# The photograph; and the product that it is: its category, subcategory and type.
PRODUCTS = (
    ("astronaut.png", "Apparel", "Topwear", "Jackets"),
    ("chelsea.png", "Accessories", "Toys", "Cats"),
    ("coffee.png", "Home", "Kitchen", "Mugs"),
    ("hubble_deep_field.jpg", "Home", "Decor", "Posters"),
    ("retina.jpg", "Accessories", "Eyewear", "Lenses"),
    ("rocket.jpg", "Accessories", "Toys", "Rockets"),
)
GENDERS, SEASONS, USAGES = ("Women", "Men", "Unisex"), ("Summer", "Fall", "Winter", "Spring"), ("Casual", "Formal")
COLOURS = {"Bright": 1.3, "Plain": 1.0, "Dark": 0.7}
# Products with a number like this one are of every hundred, from the first hundred on.
BROKEN, MISSING, TRUNCATED = 13, 37, 61


def photographs() -> list[Image.Image]:
    found = []
    for name, *_ in PRODUCTS:
        with (files("skimage") / "data" / name).open("rb") as file:
            found.append(Image.open(file).convert("RGB").resize((600, 600)))
    return found


def picture(photograph: Image.Image, light: float, chance: random.Random) -> bytes:
    """Return a part of a photograph as the file of a product's image, of 360 by 480."""
    left, top = chance.randint(0, 600 - 360), chance.randint(0, 600 - 480)
    target = io.BytesIO()
    ImageEnhance.Brightness(photograph.crop((left, top, left + 360, top + 480))).enhance(light).save(target, "JPEG")
    return target.getvalue()


def product(number: int, chance: random.Random) -> tuple[list[Any], int, float]:
    """Return the row of a product, the number of its photograph, and how light its image is."""
    which = number % len(PRODUCTS)
    _, category, subcategory, kind = PRODUCTS[which]
    colour = chance.choice([*COLOURS])
    gender, season, usage = (chance.choice(values) for values in (GENDERS, SEASONS, USAGES))
    name = f"Mill {gender} {colour} {kind} No. {number}"
    row = [10000 + number, gender, category, subcategory, kind, colour, season, chance.randint(2010, 2018), usage, name]
    return row, which, COLOURS[colour]


def malformed(row: list[Any], number: int) -> list[str]:
    """Return lines as data sets of this kind have them: none of them is a record."""
    start = ",".join(map(str, row[:-1]))
    return [
        f"{start},Mill, a name with a comma that nobody quoted",
        f"{number},Women,Apparel",
        f"../../escape{number},{','.join(map(str, row[1:]))}",
    ]


def make(folder: Path, count: int) -> dict[str, int]:
    """Write the images and the metadata; return how many of each kind there are."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    sources, chance, made = photographs(), random.Random(7), {"images": 0, "bad images": 0, "malformed lines": 0}
    with (folder / "styles.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(HEADER)
        for number in range(count):
            row, which, light = product(number, chance)
            data, place = picture(sources[which], light, chance), number % 100
            lines.writerow(row)
            made["bad images" if place in (BROKEN, MISSING, TRUNCATED) else "images"] += 1
            if place == BROKEN:
                data = b"no image at all"
            elif place == TRUNCATED:
                data = data[: len(data) // 2]
            if place != MISSING:
                (images / f"{row[0]}.jpg").write_bytes(data)
            if place == BROKEN:
                file.writelines(f"{line}\n" for line in malformed(row, number))
                made["malformed lines"] += 3
    return made


if __name__ == "__main__":
    if len(sys.argv) != 3 or not sys.argv[2].isdigit():
        sys.exit(__doc__)
    for what, number in make(Path(sys.argv[1]), int(sys.argv[2])).items():
        print(f"{what}: {number}")
