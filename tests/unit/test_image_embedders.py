"""Embedders of images: what their vectors are like, what they find, and what is wrong with files of models."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageEnhance
from tests.support.embedders import registry
from tests.support.images import PHOTOGRAPHS, encoded, hostile, photograph, small, unusual

from gristmill.bootstrap.embedders import build_embedders
from gristmill.bootstrap.images import build_images
from gristmill.core.config import Settings
from gristmill.core.errors import Invalid
from gristmill.embeddings.errors import EmbedderBroken, EmbedderNotInstalled, WrongEmbedder
from gristmill.embeddings.port import ImageEmbedder
from gristmill.embeddings.registry import EmbedderRegistry
from gristmill.images.embedders.preprocessing import read_preprocessing

SQUARE = {
    "do_resize": True, "size": {"height": 16, "width": 16}, "resample": 2, "do_center_crop": False,
    "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2],
}  # fmt: skip
WEIGHTS = np.random.default_rng(3).standard_normal((5, 3, 4, 4)).astype(np.float32)


def write_model(
    folder: Path, config: Any = SQUARE, *, output: str = "pooled", batch: Any = "batch", side: Any = 16
) -> None:
    """Write a model: a convolution of 4 × 4 with fixed weights, then as ``output`` says."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = [helper.make_node("Conv", ["pixel_values", "weights"], ["places"], strides=[4, 4])]
    shapes: dict[str, list[Any]] = {
        "places": [batch, 5, "rows", "columns"],
        "pooled": [batch, 5],
        "tokens": [batch, 16, 5],
    }
    if output == "pooled":
        nodes += [
            helper.make_node("GlobalAveragePool", ["places"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["pooled"]),
        ]
    elif output == "tokens":
        initial = numpy_helper.from_array(np.array([1, 5, 16], np.int64), "shape")
        nodes += [
            helper.make_node("Reshape", ["places", "shape"], ["rows_of"]),
            helper.make_node("Transpose", ["rows_of"], ["tokens"], perm=[0, 2, 1]),
        ]
    initializers = [numpy_helper.from_array(WEIGHTS, "weights")]
    if output == "tokens":
        initializers.append(initial)
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shapes[output])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    (folder / "preprocessor_config.json").write_text(json.dumps(config))


def expected(image: Image.Image, config: Any = SQUARE) -> np.ndarray:
    """Return what the model gives, worked out with numpy."""
    pixels = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR), np.float32) / 255
    pixels = (pixels - np.float32(config["image_mean"])) / np.float32(config["image_std"])
    blocks = pixels.reshape(4, 4, 4, 4, 3)
    found = np.einsum("iyjxc,kcyx->k", blocks, WEIGHTS) / 16
    vector: np.ndarray = found / np.linalg.norm(found)
    return vector


def of_models(folder: Path) -> EmbedderRegistry:
    settings = Settings(images_models=str(folder))
    return build_embedders(settings, build_images(settings))


@pytest.fixture(params=["image_hash", "image_layout", "onnx_tiny"])
def embedder(request: pytest.FixtureRequest, tmp_path: Path) -> ImageEmbedder:
    write_model(tmp_path / "tiny")
    return of_models(tmp_path).get_of_images(request.param)


class TestEvery:
    def test_rows_have_length_one_or_are_bits(self, embedder: ImageEmbedder) -> None:
        files = [encoded(photograph(name, (80, 60)), "PNG") for name in PHOTOGRAPHS]
        vectors, flaws = embedder.embed([*files, None, *unusual().values()])
        shape = (len(files) + 1 + len(unusual()), embedder.dimensions)
        assert (vectors.shape, vectors.dtype, flaws) == (shape, np.float32, [])
        assert np.isnan(vectors[len(files)]).all()
        there = np.delete(vectors, len(files), axis=0)
        if embedder.name == "image_hash":
            assert set(np.unique(there)) == {0.0, 1.0}
        else:
            np.testing.assert_allclose(np.linalg.norm(there, axis=1), 1, rtol=1e-5)

    def test_what_is_wrong_is_said_of_each_image_and_its_neighbours_stay(self, embedder: ImageEmbedder) -> None:
        good = small()
        vectors, flaws = embedder.embed([good, *hostile().values(), good])
        assert [flaw.row for flaw in flaws] == list(range(1, len(hostile()) + 1))
        assert {flaw.code for flaw in flaws} <= {"image_empty", "not_an_image", "image_broken", "too_many_pixels"}
        assert np.isnan(vectors[1:-1]).all()
        assert np.array_equal(vectors[0], vectors[-1])
        assert np.array_equal(vectors[:1], embedder.embed([good])[0])

    def test_it_can_be_ended_between_images(self, embedder: ImageEmbedder) -> None:
        def check() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            embedder.embed([small()], check)

    def test_plain_images_have_a_vector(self, embedder: ImageEmbedder) -> None:
        plain = [encoded(Image.new("RGB", (40, 40), colour), "PNG") for colour in ("black", "white", "#808080")]
        vectors, flaws = embedder.embed(plain)
        assert not flaws
        assert not np.isnan(vectors).any()


@pytest.mark.parametrize("name", ["image_hash", "image_layout"])
def test_the_same_images_give_the_same_vectors_in_another_process(name: str) -> None:
    code = (
        "import hashlib; from tests.support.embedders import registry; from tests.support.images import encoded,"
        f" photograph; v = registry.get_of_images({name!r}).embed([encoded(photograph(), 'PNG')])[0];"
        " print(hashlib.sha256(v.tobytes()).hexdigest())"
    )
    root = Path(__file__).parents[2]
    first, second = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout
        for _ in range(2)
    )
    assert first == second


def test_a_hash_is_near_that_of_a_copy_and_far_from_others() -> None:
    files = [encoded(photograph(name), "PNG") for name in PHOTOGRAPHS]
    copies = [encoded(photograph(name, (320, 200)), quality=60) for name in PHOTOGRAPHS]
    made = registry.get_of_images("image_hash")
    one, other = made.embed(files)[0], made.embed(copies)[0]
    distances = (one[:, None] != other[None]).sum(axis=2)
    assert distances.diagonal().max() <= 6
    assert distances[~np.eye(len(files), dtype=bool)].min() >= 16


def test_a_layout_is_nearest_to_that_of_a_cut_and_darker_copy() -> None:
    images = [photograph(name) for name in PHOTOGRAPHS]
    cut = [one.crop((one.width // 10, one.height // 10, one.width * 9 // 10, one.height * 9 // 10)) for one in images]
    made = registry.get_of_images("image_layout")
    one = made.embed([encoded(image, "PNG") for image in images])[0]
    other = made.embed([encoded(ImageEnhance.Brightness(image).enhance(0.85)) for image in cut])[0]
    assert (other @ one.T).argmax(axis=1).tolist() == list(range(len(images)))


def test_a_layout_says_where_the_edges_are() -> None:
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::2] = 255
    stripes[48:] = 128
    (vector,) = registry.get_of_images("image_layout").embed([encoded(Image.fromarray(stripes), "PNG")])[0]
    edges = vector[48:].reshape(4, 4, 6)
    # Vertical ones above, none below.
    assert (edges[:2].argmax(axis=2) == 0).all()
    assert (edges[2:].argmax(axis=2) == 5).all()


def test_texts_and_images_have_embedders_of_their_own() -> None:
    with pytest.raises(WrongEmbedder, match="reads no text; those that do are: hashing, static"):
        registry.get("image_hash")
    with pytest.raises(WrongEmbedder, match="reads no image; those that do are: image_hash, image_layout"):
        registry.get_of_images("hashing")


def test_without_pillow_its_embedders_name_the_extra() -> None:
    with pytest.raises(EmbedderNotInstalled, match=r"pip install 'gristmill\[images\]'"):
        build_embedders(Settings(), None).describe("image_layout")


class TestModels:
    @pytest.mark.parametrize("batch", ["batch", 1])
    @pytest.mark.parametrize("output", ["pooled", "tokens", "places"])
    def test_a_model_gives_what_numpy_works_out(self, tmp_path: Path, output: str, batch: Any) -> None:
        write_model(tmp_path / "tiny", output=output, batch=batch)
        found = of_models(tmp_path)
        description = found.describe("onnx_tiny")
        assert description.dimensions == 5
        images = [photograph(name, (50, 40)) for name in PHOTOGRAPHS]
        vectors, flaws = found.get_of_images("onnx_tiny").embed([encoded(image, "PNG") for image in images])
        assert not flaws
        np.testing.assert_allclose(vectors, [expected(image) for image in images], atol=1e-5)

    def test_its_version_is_that_of_both_files(self, tmp_path: Path) -> None:
        write_model(tmp_path / "one")
        write_model(tmp_path / "two")
        write_model(tmp_path / "three", {**SQUARE, "resample": 3})
        found = of_models(tmp_path)
        one, two, three = (found.describe(f"onnx_{name}").version for name in ("one", "two", "three"))
        assert one == two != three

    @pytest.mark.parametrize(
        ("spoil", "says"),
        [
            (lambda folder: (folder / "model.onnx").unlink(), "there is no model.onnx"),
            (lambda folder: (folder / "preprocessor_config.json").unlink(), "preprocessor_config.json"),
            (lambda folder: (folder / "model.onnx").write_bytes(b"no model"), "cannot be used"),
            (lambda folder: (folder / "preprocessor_config.json").write_text("{"), "preprocessor_config.json: "),
            (lambda folder: write_model(folder, side=32), "cannot be used"),
            (lambda folder: write_model(folder, batch=4), "takes 4 images at once"),
        ],
    )
    def test_broken_files_are_an_error_of_that_embedder_alone(self, tmp_path: Path, spoil: Any, says: str) -> None:
        write_model(tmp_path / "good")
        write_model(tmp_path / "bad")
        spoil(tmp_path / "bad")
        found = of_models(tmp_path)
        for ask in (found.describe, found.get_of_images):
            with pytest.raises(EmbedderBroken) as caught:
                ask("onnx_bad")
            assert says in caught.value.detail
            assert str(tmp_path / "bad") in caught.value.detail
        assert found.describe("onnx_good").dimensions == 5

    def test_folders_that_are_no_names_are_passed_over(self, tmp_path: Path) -> None:
        write_model(tmp_path / "Not A Name")
        assert of_models(tmp_path).names() == registry.names()
        assert of_models(tmp_path / "missing").names() == registry.names()


class TestPreprocessing:
    @pytest.mark.parametrize(
        ("config", "shape"),
        [
            # As openai/clip-vit-base-patch32, facebook/dinov2-base, google/vit-base-patch16-224 and microsoft/resnet-50
            # ship it.
            (
                {"crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3,
                 "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48, 0.46, 0.41],
                 "image_std": [0.27, 0.26, 0.28], "size": 224},
                (224, 224),
            ),
            (
                {"crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "do_convert_rgb": True,
                 "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.485, 0.456, 0.406],
                 "image_processor_type": "BitImageProcessor", "image_std": [0.229, 0.224, 0.225], "resample": 3,
                 "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 256}},
                (224, 224),
            ),
            (
                {"do_normalize": True, "do_resize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
                 "resample": 2, "size": 224},
                (224, 224),
            ),
            (
                {"crop_pct": 0.875, "do_normalize": True, "do_resize": True, "resample": 3, "size": 224,
                 "feature_extractor_type": "ConvNextFeatureExtractor", "image_mean": [0.485, 0.456, 0.406],
                 "image_std": [0.229, 0.224, 0.225]},
                (224, 224),
            ),
            ({"do_resize": True, "size": {"shortest_edge": 60}, "resample": 0, "do_normalize": False}, (60, 90)),
            ({"do_resize": False, "do_normalize": False}, (200, 300)),
            (
                {"do_resize": False, "do_normalize": False, "do_center_crop": True,
                 "crop_size": {"height": 400, "width": 40}},
                (400, 40),
            ),
        ],
    )  # fmt: skip
    def test_files_of_public_models_are_read(self, config: Any, shape: tuple[int, int]) -> None:
        pixels = read_preprocessing(json.dumps(config).encode(), "x").pixels(photograph(size=(300, 200)))
        assert (pixels.shape, pixels.dtype) == ((3, *shape), np.float32)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"do_flip": True}, "do_flip: this member is not known"),
            ({"size": None}, "these members are missing: size"),
            ({"image_std": None}, "these members are missing: image_std"),
            ({"resample": 9}, "resample: "),
            ({"size": {"height": 5}}, "a size is shortest_edge, or height and width"),
            ({"size": {"longest_edge": 5, "shortest_edge": 4}}, "size.longest_edge: this member is not known"),
            ({"size": {"height": 10**6, "width": 1}}, "size.height"),
            ({"image_std": [1, 0, 1]}, "image_std has a zero"),
            ({"do_pad": True}, "do_pad"),
            ({"do_center_crop": True}, "these members are missing: crop_size"),
        ],
    )
    def test_what_is_not_understood_is_refused(self, change: Any, says: str) -> None:
        with pytest.raises(Invalid) as caught:
            read_preprocessing(json.dumps({**SQUARE, **change}).encode(), "preprocessor_config.json")
        assert says in caught.value.detail
