"""Operations on images for any size, mode and parameters: sizes, bounds, what stays as it was, and seeds."""

import io
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from tests.support.images import encoded, small

from gristmill.bootstrap.images import IMAGE_STEPS, build_images
from gristmill.core.config import Settings
from gristmill.images.decode import decode
from gristmill.images.encode import encode
from gristmill.images.errors import BadImage
from gristmill.images.reader import ImageReader
from gristmill.images.steps.base import MOST_SIDE, Chance, chance_of, step_kind
from gristmill.images.steps.flip import FLIP
from gristmill.transforms.run import to_frame
from gristmill.transforms.spec import Column, StepContext, StepRefused

FOUND = build_images(Settings())
assert FOUND is not None
IMAGES = FOUND
MODES = ("L", "RGB", "RGBA")
colours = st.none() | st.sampled_from(["#ff8800", "#808080", "#FFFFFF"])


@st.composite
def images(draw: st.DrawFn, most: int = 24) -> Image.Image:
    mode = draw(st.sampled_from(MODES))
    width, height = draw(st.integers(1, most)), draw(st.integers(1, most))
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    return Image.fromarray(noise.integers(0, 256, shape, np.uint8))


def changed(image: Image.Image, op: str, data: bytes = b"", **parameters: Any) -> Image.Image:
    operation = IMAGES.operations[op]
    step = operation.parameters.model_validate({"op": op, "column": "image", **parameters})
    operation.check(step)
    return operation.make(step)(image, chance_of(data, parameters.get("seed", 0)))


def refused(op: str, **parameters: Any) -> tuple[str, str, str]:
    with pytest.raises(StepRefused) as error:
        changed(Image.new("L", (1, 1)), op, **parameters)
    (violation,) = error.value.violations
    return violation.pointer, violation.code, violation.reason


def same(one: Image.Image, other: Image.Image) -> bool:
    return (one.mode, one.size, one.tobytes()) == (other.mode, other.size, other.tobytes())


def test_there_is_a_step_for_each_name_that_is_known_without_the_extra() -> None:
    assert sorted(kind.op for kind in IMAGES.step_kinds()) == list(IMAGE_STEPS)


shares = st.floats(0.001, 1)


@given(images(), shares, shares, st.binary(max_size=8), st.integers(0, 2**63 - 1))
def test_a_random_crop_is_a_part_of_the_image_and_the_same_again(
    image: Image.Image, width: float, height: float, data: bytes, seed: int
) -> None:
    found = changed(image, "image_random_crop", data, width=width, height=height, seed=seed)
    assert found.size == (max(1, round(image.width * width)), max(1, round(image.height * height)))
    whole, part = np.asarray(image), np.asarray(found)
    windows = np.lib.stride_tricks.sliding_window_view(whole, part.shape)
    assert (windows == part).reshape(-1, part.size).all(axis=1).any()
    assert same(found, changed(image, "image_random_crop", data, width=width, height=height, seed=seed))


def test_other_seeds_and_other_images_are_cropped_at_other_places() -> None:
    across = Image.linear_gradient("L")
    by_seed = {changed(across, "image_random_crop", b"a", seed=seed).tobytes() for seed in range(20)}
    by_image = {changed(across, "image_random_crop", bytes([data])).tobytes() for data in range(20)}
    assert min(len(by_seed), len(by_image)) > 10


@given(images(), st.integers(1, 40), st.integers(1, 40))
def test_a_crop_in_pixels_leaves_at_most_what_there_is(image: Image.Image, width: int, height: int) -> None:
    for op in ("image_centre_crop", "image_random_crop"):
        found = changed(image, op, width=width, height=height, unit="pixels")
        assert found.size == (min(width, image.width), min(height, image.height))


@given(images(), st.integers(1, 40), st.integers(1, 40), colours)
def test_what_is_padded_is_found_in_the_middle_again(
    image: Image.Image, width: int, height: int, colour: str | None
) -> None:
    padded = changed(image, "image_pad", width=width, height=height, colour=colour)
    assert padded.size == (max(width, image.width), max(height, image.height))
    back = changed(padded, "image_centre_crop", width=image.width, height=image.height, unit="pixels")
    assert same(back, image.convert(back.mode))
    assert back.mode == image.mode or (image.mode, back.mode, colour) == ("L", "RGB", "#ff8800")


@given(images(), st.floats(0.01, 100))
def test_a_padded_ratio_is_as_near_as_whole_pixels_are(image: Image.Image, ratio: float) -> None:
    width, height = changed(image, "image_pad", ratio=ratio).size
    assert (width == image.width) or (height == image.height)
    assert width >= image.width
    assert height >= image.height
    assert abs(width - height * ratio) <= 0.5 + 1e-9 or abs(height - width / ratio) <= 0.5 + 1e-9


@given(images(), st.integers(1, 60), st.integers(1, 60))
def test_a_resized_image_has_the_size_that_its_fit_says(image: Image.Image, width: int, height: int) -> None:
    assert changed(image, "image_resize", width=width, height=height).size == (width, height)
    inside = changed(image, "image_resize", width=width, height=height, fit="contain")
    assert inside.width <= width
    assert inside.height <= height
    assert inside.width == width or inside.height == height
    around = changed(image, "image_resize", width=width, height=height, fit="cover")
    assert around.width >= width
    assert around.height >= height
    assert around.width == width or around.height == height
    assert inside.mode == around.mode == image.mode


@given(images())
def test_what_is_done_twice_or_all_around_changes_nothing(image: Image.Image) -> None:
    for direction in ("horizontal", "vertical"):
        once = changed(image, "image_flip", direction=direction)
        assert same(changed(once, "image_flip", direction=direction), image)
    for degrees in (0, 360, -360):
        assert same(changed(image, "image_rotate", degrees=degrees), image)
    found = image
    for _ in range(4):
        found = changed(found, "image_rotate", degrees=90)
    assert same(found, image)
    assert same(changed(changed(image, "image_rotate", degrees=90), "image_rotate", degrees=-90), image)


@given(images(), st.floats(-360, 360), st.booleans(), colours)
def test_a_turned_image_keeps_its_size_or_has_room(
    image: Image.Image, degrees: float, expand: bool, colour: str | None
) -> None:
    found = changed(image, "image_rotate", degrees=degrees, expand=expand, colour=colour)
    if not expand:
        assert found.size == image.size
    operation = IMAGES.operations["image_rotate"]
    step = operation.parameters.model_validate(
        {"op": "image_rotate", "column": "image", "degrees": degrees, "expand": expand}
    )
    most = operation.size(step, image.size)
    assert found.width <= most[0]
    assert found.height <= most[1]
    assert found.width * found.height >= image.width * image.height * (0.99 if expand else 1) - 1


@given(images())
def test_grey_stays_grey_and_keeps_its_transparency(image: Image.Image) -> None:
    once = changed(image, "image_grayscale")
    assert once.mode == ("RGBA" if image.mode == "RGBA" else "L")
    assert same(changed(once, "image_grayscale"), once)
    if image.mode == "RGBA":
        assert once.getchannel("A").tobytes() == image.getchannel("A").tobytes()


@given(images(), st.floats(0, 49.9))
def test_a_normalised_channel_reaches_from_0_to_255(image: Image.Image, cutoff: float) -> None:
    whole, cut = (changed(image, "image_normalise", cutoff=share) for share in (0, cutoff))
    assert whole.mode == cut.mode == image.mode
    pixels = np.asarray(whole).reshape(-1, len(whole.getbands()))
    before = np.asarray(image).reshape(pixels.shape)
    seen = pixels[:, 3] > 0 if whole.mode == "RGBA" else np.full(len(pixels), True)
    for channel in range(min(3, pixels.shape[1])):
        values, given_ = pixels[seen, channel], before[seen, channel]
        if len(set(given_.tolist())) > 1:
            assert values.min() == 0
            assert values.max() == 255
        else:
            assert (values == given_).all()


def test_pixels_apart_from_outliers_are_stretched() -> None:
    values = np.r_[np.zeros(2), np.linspace(100, 150, 196), np.full(2, 255)].astype(np.uint8)
    found = np.asarray(changed(Image.fromarray(values.reshape(10, 20)), "image_normalise", cutoff=2.0))
    assert (found == 0).sum() > 2
    assert (found == 255).sum() > 2
    assert len(np.unique(found)) > 40


def test_a_chance_is_its_share_of_images_and_that_of_its_seed() -> None:
    image = Image.linear_gradient("L")
    upside_down = changed(image, "image_flip", direction="vertical").tobytes()
    flips = [
        [
            changed(image, "image_flip", f"{n}".encode(), direction="vertical", chance=0.3, seed=seed).tobytes()
            == upside_down
            for n in range(500)
        ]
        for seed in (1, 1, 2)
    ]
    assert flips[0] == flips[1] != flips[2]
    assert 0.23 < sum(flips[0]) / 500 < 0.37
    for chance, expected in ((0.0, image.tobytes()), (1.0, upside_down)):
        assert changed(image, "image_flip", b"x", direction="vertical", chance=chance).tobytes() == expected


@pytest.mark.parametrize("op", ["image_pad", "image_rotate"])
def test_what_is_added_is_transparent_white_or_the_colour(op: str) -> None:
    step: dict[str, Any] = {"width": 30} if op == "image_pad" else {"degrees": 45}
    expected = {"L": 255, "RGB": (255, 255, 255), "RGBA": (255, 255, 255, 0)}
    coloured = {"L": (255, 136, 0), "RGB": (255, 136, 0), "RGBA": (255, 136, 0, 255)}
    for mode in MODES:
        image = Image.new(mode, (10, 10), "black")
        corner = changed(image, op, **step).getpixel((0, 0))
        assert corner == expected[mode] or (mode == "RGBA" and isinstance(corner, tuple) and corner[3] == 0)
        assert changed(image, op, **step, colour="#ff8800").getpixel((0, 0)) == coloured[mode]
    assert changed(Image.new("L", (10, 10)), op, **step, colour="#404040").mode == "L"


def test_what_is_transparent_lends_its_colour_to_no_neighbour() -> None:
    image = Image.new("RGBA", (20, 20), (0, 255, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 10, 20))
    for op, parameters in (("image_resize", {"width": 7, "height": 7}), ("image_rotate", {"degrees": 30})):
        found = np.asarray(changed(image, op, **parameters))
        assert found[found[..., 3] > 8][:, 1].max() < 32


def test_a_profile_stays_where_the_colours_do() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = decode(encoded(Image.new("RGB", (8, 6), "red"), "PNG", icc_profile=profile), 1000)
    kept = [
        changed(image, "image_pad", width=20),
        changed(image, "image_flip"),
        changed(image, "image_rotate", degrees=9),
    ]
    assert all(one.info == {"icc_profile": profile} and one.format == "PNG" for one in kept)
    assert changed(image, "image_grayscale").info == {}
    clear = decode(encoded(Image.new("RGBA", (8, 6)), "PNG", icc_profile=profile), 1000)
    assert Image.open(io.BytesIO(encode(clear, "jpeg"))).info["icc_profile"] == profile


class TestBounds:
    def test_a_size_that_is_always_too_large_is_refused_with_the_contract(self) -> None:
        for op, more in (("image_resize", {}), ("image_resize", {"fit": "cover"}), ("image_pad", {})):
            pointer, code, reason = refused(op, width=10_000, height=10_000, **more)
            assert (pointer, code) == ("/width", "too_many_pixels")
            assert "50000000" in reason
        # It may well be smaller.
        changed(Image.new("L", (9, 1)), "image_resize", width=10_000, height=10_000, fit="contain")

    @pytest.mark.parametrize(
        ("size", "op", "parameters", "code"),
        [
            ((1000, 1), "image_resize", {"width": 9000, "height": 100, "fit": "cover"}, "side_too_long"),
            ((1, 16_000), "image_pad", {"ratio": 1}, "too_many_pixels"),
            ((200, 1), "image_pad", {"ratio": 0.01}, "side_too_long"),
            ((16_000, 500), "image_rotate", {"degrees": 45}, "too_many_pixels"),
        ],
    )
    def test_one_that_is_for_an_image_is_that_images_problem(
        self, size: tuple[int, int], op: str, parameters: dict[str, Any], code: str
    ) -> None:
        with pytest.raises(BadImage) as error:
            changed(Image.new("L", size), op, **parameters)
        assert error.value.code == code
        assert "×" in error.value.reason

    def test_a_long_image_may_stay_long(self) -> None:
        assert changed(Image.new("L", (MOST_SIDE + 1, 2)), "image_flip").width == MOST_SIDE + 1

    def test_a_narrow_image_takes_no_more_memory_on_its_way_than_before_or_after(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes: list[tuple[int, int]] = []
        real: Callable[..., Image.Image] = Image.Image.resize

        def seen(image: Image.Image, size: tuple[int, int], *rest: Any) -> Image.Image:
            # Pillow does the width first.
            sizes.append((size[0], image.height) if size[0] != image.width else size)
            return real(image, size, *rest)

        monkeypatch.setattr(Image.Image, "resize", seen)
        assert changed(Image.new("L", (1, 1_000_000)), "image_resize", width=1000, height=500).size == (1000, 500)
        assert max(math.prod(size) for size in sizes) <= 1_000_000

    def test_what_a_format_cannot_hold_is_that_images_problem(self) -> None:
        for format_, side in (("jpeg", 65_501), ("webp", 16_384)):
            with pytest.raises(BadImage) as error:
                encode(Image.new("L", (side, 1)), format_)  # type: ignore[arg-type]
            assert error.value.code == "side_too_long"
            assert format_ in error.value.reason
            encode(Image.new("L", (side - 1, 1)), format_)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("op", "parameters", "pointer", "said"),
    [
        ("image_centre_crop", {"width": 2}, "/width", "pixels"),
        ("image_random_crop", {"height": 1.5}, "/height", "share"),
        ("image_random_crop", {"width": 10, "height": 1.5, "unit": "pixels"}, "/height", "whole"),
        ("image_pad", {}, "/width", "ratio"),
        ("image_pad", {"ratio": 1, "height": 2}, "/ratio", "leave out"),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(
    op: str, parameters: dict[str, Any], pointer: str, said: str
) -> None:
    found = refused(op, **parameters)
    assert found[0] == pointer
    assert said in found[2]


def test_what_an_operation_or_an_encoder_stumbles_over_fails_its_record() -> None:
    def stumble(image: Image.Image, chance: Chance) -> Image.Image:
        raise ValueError("no room for pixels")

    broken = replace(FLIP, op="image_stumbles", make=lambda step: stumble)
    kind = step_kind(broken, ImageReader(None, 1000, 1000))
    step = kind.parameters(op="image_stumbles", column="photo")
    frame = to_frame(pa.table({"photo": pa.array([small(), None], pa.binary())}))
    columns = {"photo": Column("photo", "image", pa.binary())}
    output = kind.make(step, columns, cast(Any, None))(frame, StepContext())
    assert [(one.row, one.code, one.field) for one in output.failures] == [(0, "image_not_made", "photo")]
    assert "no room for pixels" in output.failures[0].reason
