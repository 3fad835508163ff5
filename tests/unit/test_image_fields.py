"""Image fields and steps in one contract: paths as input, what a field takes of a step, and the missing extra."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image
from tests.support.embedders import registry
from tests.support.images import photograph, small
from tests.support.steps import STEPS

from gristmill.bootstrap.images import EXTRA, IMAGE_STEPS, build_images
from gristmill.bootstrap.steps import build_steps
from gristmill.core.config import Settings
from gristmill.core.errors import Invalid
from gristmill.datasets.contract_parser import KnownEmbedder, parse_contract
from gristmill.datasets.pipeline import bind_pipeline
from gristmill.datasets.step_types import bound_types
from gristmill.records.transform import Pipelines
from gristmill.transforms.registry import StepRegistry
from gristmill.transforms.run import run
from gristmill.transforms.spec import StepContext

PATH = {"name": "photo", "type": "image", "stored_as": "path"}
MADE = {"name": "made", "type": "image", "computed": True}
MADE_PATH = {**MADE, "stored_as": "path"}
FLIP = {"op": "image_flip", "column": "photo", "as": "made"}


def contract_of(fields: list[dict[str, Any]], pipeline: list[dict[str, Any]], **body: Any) -> Any:
    return parse_contract({"name": "shoes", "fields": fields, "pipeline": pipeline, **body}, steps=STEPS)


def refused(
    fields: list[dict[str, Any]], pipeline: list[dict[str, Any]], steps: StepRegistry = STEPS, **body: Any
) -> list[tuple[str, str, str]]:
    with pytest.raises(Invalid) as error:
        parse_contract({"name": "shoes", "fields": fields, "pipeline": pipeline, **body}, steps=steps)
    return [(one.pointer, one.code, one.reason) for one in error.value.violations]


class TestWhatAFieldTakes:
    def test_the_bytes_that_a_step_makes_are_no_path(self) -> None:
        ((pointer, code, reason),) = refused([PATH, MADE_PATH], [FLIP])
        assert (pointer, code) == ("/pipeline/0", "wrong_type")
        assert "made takes the path of an image" in reason
        assert "binary" in reason
        contract_of([PATH, MADE], [FLIP])

    def test_nor_are_those_that_replace_a_path(self) -> None:
        step = {"op": "image_flip", "column": "photo"}
        ((pointer, code, _),) = refused([PATH], [step])
        assert (pointer, code) == ("/pipeline/0", "wrong_type")

    def test_a_path_is_no_image(self) -> None:
        rename = {"op": "rename", "columns": {"photo": "made"}}
        ((pointer, code, reason),) = refused([MADE], [rename], input=[PATH])
        assert (pointer, code) == ("/pipeline/0", "wrong_type")
        assert "base64" in reason

    def test_vectors_of_another_length_are_refused_as_well(self) -> None:
        fields = [{"name": "made", "type": "vector", "dimensions": 3, "computed": True}]
        sent = [{"name": "v", "type": "vector", "dimensions": 2}]
        ((pointer, code, _),) = refused(fields, [{"op": "rename", "columns": {"v": "made"}}], input=sent)
        assert (pointer, code) == ("/pipeline/0", "wrong_type")

    def test_a_text_becomes_a_path_or_base64(self) -> None:
        step = {"op": "derive", "as": "made", "value": "id + '.jpg'"}
        for made in (MADE, MADE_PATH):
            contract_of([{"name": "id", "type": "text"}, made], [step])


class TestPaths:
    @pytest.fixture
    def steps(self, tmp_path: Path) -> StepRegistry:
        (tmp_path / "shoes").mkdir()
        (tmp_path / "shoes" / "1.png").write_bytes(small(size=(12, 8)))
        settings = Settings(images_url=str(tmp_path))
        return build_steps(settings, registry, build_images(settings))

    @pytest.mark.parametrize("field", [PATH, {"name": "photo", "type": "text"}], ids=lambda field: field["type"])
    def test_a_step_reads_the_file_below_the_image_folder(self, steps: StepRegistry, field: dict[str, Any]) -> None:
        resize = {"op": "image_resize", "column": "photo", "as": "made", "width": 3, "height": 2}
        info = {"op": "image_info", "column": "photo", "height": None, "format": None}
        width = {"name": "width", "type": "integer", "computed": True}
        contract = contract_of([field, MADE, width], [resize, info])
        values = ["shoes/1.png", None, "shoes/2.png", "../1.png"]
        made = run(bind_pipeline(contract, steps), pa.table({"photo": pa.array(values)}), StepContext())
        (data, nothing) = made.table.column("made").to_pylist()
        assert Image.open(io.BytesIO(data)).size == (3, 2)
        assert nothing is None
        assert made.table.column("width").to_pylist() == [12, None]
        assert [(one.record, one.code, one.field) for one in made.failed] == [
            (2, "image_missing", "photo"),
            (3, "unsafe_path", "photo"),
        ]

    def test_a_path_under_another_name_is_shown_as_the_path(self) -> None:
        contract = contract_of([MADE_PATH], [{"op": "rename", "columns": {"photo": "made"}}], input=[PATH])
        (step,) = bind_pipeline(contract, STEPS)
        for name in ("photo", "made", "other"):
            column = replace(step.columns["made"], name=name)
            assert bound_types(contract).shown(column, pa.array(["a/1.jpg", None])) == ["a/1.jpg", None]

    def test_images_of_short_paths_take_no_more_memory_than_a_batch_may(
        self, steps: StepRegistry, tmp_path: Path
    ) -> None:
        photograph(size=(200, 200)).save(tmp_path / "shoes" / "1.png")
        contract = contract_of([PATH, MADE], [FLIP])
        table = pa.table({"photo": pa.array(["shoes/1.png"] * 50)})
        with pytest.raises(Invalid) as error:
            run(bind_pipeline(contract, steps), table, StepContext(most_bytes=200_000))
        assert "image_flip makes more than 400000 bytes" in error.value.detail
        assert error.value.violations[0].code == "too_large"


@pytest.mark.parametrize("op", IMAGE_STEPS)
def test_without_the_extra_a_contract_is_told_which_one_it_needs(op: str) -> None:
    bare = build_steps(Settings(), registry, None)
    ((pointer, code, reason),) = refused([PATH, MADE], [{"op": op, "column": "photo", "as": "made"}], bare)
    assert (pointer, code) == ("/pipeline/0/op", "not_installed")
    assert EXTRA in reason
    ((_, code, _),) = refused([PATH, MADE], [{"op": "image_paint", "column": "photo"}], bare)
    assert code == "unknown_step"


@pytest.mark.promise(10)
def test_the_bytes_of_a_record_are_the_same_in_every_attempt_and_however_the_batch_is_cut() -> None:
    photos = [small(colour=(n, 2 * n, 255 - n)) for n in range(12)]
    steps = [
        {"op": "image_random_crop", "column": "photo", "as": "made", "seed": 3},
        {"op": "image_flip", "column": "made", "chance": 0.5, "seed": 4},
        {"op": "image_rotate", "column": "made", "degrees": 10, "format": "jpeg"},
    ]
    contract = contract_of([{"name": "photo", "type": "image"}, MADE], steps)
    bound = bind_pipeline(contract, STEPS)

    def made(some: list[bytes]) -> list[bytes]:
        table = pa.table({"photo": pa.array(some, pa.binary())})
        found: list[bytes] = run(bound, table, StepContext()).table.column("made").to_pylist()
        return found

    whole = made(photos)
    assert whole == made(photos) == made(photos[:5]) + made(photos[5:]) == [made([one])[0] for one in photos]


class TestChunks:
    def test_chunks_whose_images_are_read_are_small(self) -> None:
        pipelines = Pipelines(STEPS)
        of_images = KnownEmbedder(144, "image", "vector")
        embedding = {"embedding": {"from": ["photo"], "embedder": "image_layout"}}
        plain = contract_of([PATH], [])
        stepped = contract_of([PATH, MADE], [FLIP])
        embedded = parse_contract({"name": "shoes", "fields": [PATH], **embedding}, {"image_layout": of_images})
        most = [pipelines.most_records(contract, 10_000) for contract in (plain, stepped, embedded)]
        assert most == [10_000, 500, 500]
        assert pipelines.most_records(stepped, 20) == 20
