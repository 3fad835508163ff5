"""Files become pixels or BadImage, whatever is in them, within the memory that their pixels need."""

import io
import random
import subprocess
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.support.images import bomb, encoded, hostile, photograph, png_header, small, turned, unusual

from gristmill.images.decode import FORMATS, MOST_PROFILE_BYTES, _in_plain_mode, decode, size_of
from gristmill.images.encode import encode
from gristmill.images.errors import BadImage
from gristmill.images.steps.base import chance_of
from gristmill.images.steps.random_crop import RANDOM_CROP
from gristmill.images.steps.resize import RESIZE

# A process says this to itself once; pytest forgets it with each test.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
MOST = 50_000_000
HOSTILE, UNUSUAL = hostile(), unusual()
CODES = {"image_empty", "not_an_image", "image_broken", "too_many_pixels"}
STEPS = [
    kind.make(kind.parameters.model_validate({"op": kind.op, "column": "photo", **options}))
    for kind, options in (
        (RANDOM_CROP, {"width": 0.5, "height": 0.7}),
        *((RESIZE, {"width": 20, "height": 30, "fit": fit}) for fit in ("stretch", "contain", "cover")),
    )
]


def refusal(data: bytes, most: int = MOST) -> BadImage:
    with pytest.raises(BadImage) as caught:
        decode(data, most)
    return caught.value


def use(data: bytes, most: int = MOST) -> str:
    """Decode, change and encode an image in every way; return the code of what is wrong with it, empty for nothing."""
    try:
        size_of(data, most)
        images = [decode(data, most, near) for near in (None, 16)]
    except BadImage as error:
        return error.code
    for image in images:
        assert image.mode in ("L", "RGB", "RGBA")
        assert set(image.info) <= {"icc_profile"}
        for step in STEPS:
            changed = step(image, chance_of(data, 1))
            for format, longest in (("jpeg", 65_500), ("png", 65_535), ("webp", 16_383)):
                if max(changed.size) <= longest:
                    assert decode(encode(changed, format), most).size == changed.size  # type: ignore[arg-type]
    return ""


class TestHostile:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_it_is_a_bad_image_with_a_code_and_a_reason(self, name: str) -> None:
        assert use(HOSTILE[name]) in CODES

    @pytest.mark.parametrize("name", UNUSUAL)
    def test_what_is_only_unusual_is_decoded_and_changed(self, name: str) -> None:
        assert use(UNUSUAL[name]) == ""

    def test_the_codes_say_what_it_is(self) -> None:
        found = {name: refusal(data).code for name, data in HOSTILE.items()}
        assert found["empty"] == "image_empty"
        assert {found[name] for name in ("text", "html", "svg", "tiff", "bmp")} == {"not_an_image"}
        assert {name for name, code in found.items() if code == "too_many_pixels"} == {
            "bomb_png", "largest_png", "narrow_png",
        }  # fmt: skip
        assert {found[name] for name in ("truncated_jpeg", "truncated_png", "text_bomb_png", "truncated_webp")} == {
            "image_broken"
        }

    def test_the_limit_of_pixels_is_ours_alone_and_pillow_says_nothing(self) -> None:
        # Pillow warns from 89 million pixels on, and refuses 179 million.
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for pixels in (99_000_000, 190_000_000, 500_000_000):
                header = png_header(10_000, pixels // 10_000)
                assert size_of(header, pixels) == (10_000, pixels // 10_000, "PNG")
                assert refusal(header, pixels).code == "image_broken"
                assert refusal(header, pixels - 1).code == "too_many_pixels"
                assert str(pixels - 1) in refusal(header, pixels - 1).reason
            assert decode(bomb(9500, 9500), 9500 * 9500).size == (9500, 9500)

    def test_what_an_image_is_made_into_has_to_fit_its_format(self) -> None:
        long = Image.new("RGB", (16_384, 2))
        with pytest.raises(BadImage, match="16384 × 2 pixels, and a side of webp has at most 16383") as caught:
            encode(long, "webp")
        assert caught.value.code == "side_too_long"
        assert decode(encode(long, "jpeg"), MOST).size == (16_384, 2)

    @pytest.mark.parametrize(
        ("data", "most", "code", "megabytes"),
        [
            # Decoded it would have 900 MB; the file has 0.9.
            (lambda: bomb(20_000, 15_000), MOST, "too_many_pixels", 40),
            # As many pixels as are allowed, four bytes each.
            (lambda: bomb(7000, 7000), MOST, "", 260),
            # Text that Pillow would inflate.
            (lambda: HOSTILE["text_bomb_png"], MOST, "image_broken", 40),
            # More rows than it says: the rest is not even inflated.
            (lambda: longer_than_it_says(), MOST, "", 40),
        ],
        ids=["bomb", "largest", "text", "longer"],
    )  # fmt: skip
    def test_memory_is_bounded_by_the_pixels_that_are_allowed(
        self, data: Callable[[], bytes], most: int, code: str, megabytes: int
    ) -> None:
        program = (
            "import resource, sys\n"
            "from gristmill.images.decode import decode\n"
            "from gristmill.images.errors import BadImage\n"
            "from PIL import Image\n"
            "Image.init()\n"
            "data, code = sys.stdin.buffer.read(), ''\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "try:\n    decode(data, int(sys.argv[1]))\n"
            "except BadImage as error:\n    code = error.code\n"
            "print(code or '-', (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
        )
        ran = subprocess.run([sys.executable, "-c", program, str(most)], input=data(), capture_output=True, check=True)
        found, used = ran.stdout.split()
        assert found.decode() == (code or "-")
        assert int(used) < megabytes


def longer_than_it_says() -> bytes:
    """Return a PNG of 4 × 4 pixels, and rows of 400 MB."""
    whole = bomb(10_000, 13_333)
    header = png_header(4, 4)
    return header[: header.index(b"IDAT") - 4] + whole[whole.index(b"IDAT") - 4 :]


REAL = {
    "jpeg": encoded(photograph("rocket.jpg", (96, 64))),
    "progressive": encoded(photograph("rocket.jpg", (96, 64)), progressive=True),
    "turned": turned(6),
    "png": encoded(photograph("chelsea.png", (48, 32)), "PNG"),
    "palette": encoded(photograph("chelsea.png", (48, 32)).convert("P"), "PNG", transparency=3),
    "gif": UNUSUAL["animated_gif"],
    "webp": encoded(photograph("coffee.png", (96, 64)), "WEBP"),
    "lossless": encoded(photograph("coffee.png", (48, 32)), "WEBP", lossless=True, exif=b"Exif\0\0II*\0"),
    "exif_png": UNUSUAL["exif_garbage_png"],
    "deep": UNUSUAL["sixteen_bits_clear"],
    "pictures": UNUSUAL["several_pictures"],
}


class TestFuzzed:
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        name=st.sampled_from(sorted(REAL)), seed=st.integers(0, 2**32), flips=st.integers(1, 40), early=st.booleans()
    )
    def test_bytes_that_are_changed_give_pixels_or_a_bad_image(
        self, name: str, seed: int, flips: int, early: bool
    ) -> None:
        chance, data = random.Random(seed), bytearray(REAL[name])
        for _ in range(flips):
            # Headers are where it hurts.
            data[chance.randrange(min(len(data), 200 if early else len(data)))] = chance.randrange(256)
        code = use(bytes(data), 1_000_000)
        assert code in {"", *CODES}

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(name=st.sampled_from(sorted(REAL)), share=st.floats(0, 1, exclude_max=True), tail=st.binary(max_size=20))
    def test_files_that_break_off_give_pixels_or_a_bad_image(self, name: str, share: float, tail: bytes) -> None:
        data = REAL[name]
        assert use(data[: int(len(data) * share)] + tail, 1_000_000) in {"", *CODES}

    @settings(max_examples=100, deadline=None)
    @given(
        start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF1234WEBP"]),
        rest=st.binary(),
    )
    def test_any_bytes_give_a_bad_image(self, start: bytes, rest: bytes) -> None:
        assert use(start + rest, 1_000_000) in {"", *CODES}


class TestPixels:
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_an_image_stands_upright_whatever_its_orientation(self, orientation: int) -> None:
        upright, image = decode(turned(1), MOST), decode(turned(orientation), MOST)
        turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
        raw = Image.open(io.BytesIO(turned(orientation)))
        if orientation in turns:
            assert image.size == (raw.size[::-1] if orientation >= 5 else raw.size)
            expected = raw.transpose(Image.Transpose(turns[orientation]))
            assert np.array_equal(np.asarray(image), np.asarray(expected))
        else:
            assert np.array_equal(np.asarray(image), np.asarray(upright))
        assert size_of(turned(orientation), MOST) == (*image.size, "JPEG")

    def test_an_orientation_behind_the_pixels_of_a_png_counts(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        data = encoded(photograph(size=(30, 20)), "PNG", exif=exif)
        at = data.index(b"eXIf") - 4
        length = int.from_bytes(data[at : at + 4], "big") + 12
        moved = data[:at] + data[at + length : -12] + data[at : at + length] + data[-12:]
        assert decode(data, MOST).size == decode(moved, MOST).size == (20, 30)

    def test_sixteen_bits_keep_their_higher_byte_and_what_is_clear(self) -> None:
        image = decode(UNUSUAL["sixteen_bits_clear"], MOST)
        pixels = np.asarray(image)
        assert [pixels[0, x, 0] for x in range(64)] == [x * 1000 // 256 for x in range(64)]
        assert [x for x in range(64) if pixels[0, x, 3] == 0] == [2]
        grey = np.asarray(decode(UNUSUAL["sixteen_bits"], MOST))
        assert np.array_equal(grey, (np.arange(64 * 48).reshape(48, 64) * 20) // 256)

    @pytest.mark.parametrize(
        "mode",
        ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"],
    )
    def test_every_mode_of_pillow_becomes_one_of_three(self, mode: str) -> None:
        image = Image.new(mode, (3, 2))
        assert _in_plain_mode(image).mode in ("L", "RGB", "RGBA")
        assert _in_plain_mode(image).size == (3, 2)

    def test_a_colour_profile_is_kept_where_the_colours_are_and_where_it_is_not_too_long(self) -> None:
        base = photograph(size=(8, 8))
        for image in (base, base.convert("P")):
            assert decode(encoded(image, "PNG", icc_profile=b"abc"), MOST).info == {"icc_profile": b"abc"}
        assert decode(encoded(base.convert("CMYK"), icc_profile=b"abc"), MOST).info == {}
        assert decode(encoded(base, icc_profile=b"x" * MOST_PROFILE_BYTES), MOST).info != {}
        assert decode(encoded(base, icc_profile=b"x" * (MOST_PROFILE_BYTES + 1)), MOST).info == {}

    def test_the_first_frame_is_taken_and_the_format_named(self) -> None:
        first = np.asarray(decode(UNUSUAL["animated_gif"], MOST).convert("L")).astype(int)
        still = np.asarray(photograph(size=(64, 48)).convert("P").convert("L")).astype(int)
        assert np.abs(first - still).mean() < 3
        formats = {"animated_gif": "GIF", "animated_webp": "WEBP", "animated_png": "PNG", "several_pictures": "JPEG"}
        for name, format in formats.items():
            assert decode(UNUSUAL[name], MOST).format == format
            assert size_of(UNUSUAL[name], MOST) == (64, 48, format)
        assert {decode(small(format), MOST).format for format in FORMATS} == set(FORMATS)
