"""The image data set, by its own URLs: started by make, on real services, with real photographs."""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.example import ROOT, running
from tests.support.fashion import Fashion, Json, rows, size
from tests.support.images import encoded, hostile, photograph
from tests.support.stacks import SharedStack
from tests.support.system import eventually

COUNT = 300
# Of each hundred one image is none, one is missing and one breaks off; and three lines are no products.
BAD_IMAGES, BAD_LINES = 9, 9


@pytest.fixture(scope="module")
def fashion(whole: SharedStack) -> Iterator[Fashion]:
    data = Path(whole.given["images_url"])
    made = subprocess.run(
        [sys.executable, str(ROOT / "examples/fashion/load.py"), str(data / "fashion"), str(COUNT)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert made.stdout.splitlines() == [
        f"images: {COUNT - BAD_IMAGES}", f"bad images: {BAD_IMAGES}", f"malformed lines: {BAD_LINES}"
    ]  # fmt: skip
    with running("fashion", whole, f"--env FASHION_DATA={data}") as example:
        yield Fashion(example, data)


@pytest.fixture(scope="module")
def loaded(fashion: Fashion) -> Json:
    """The result of loading everything."""
    return fashion.done("insert2db")


class TestInsert:
    def test_good_products_are_loaded_and_the_others_listed_with_their_reasons(
        self, fashion: Fashion, loaded: Json
    ) -> None:
        good = COUNT - BAD_IMAGES
        counts = loaded["record_counts"]
        assert (counts["succeeded"], counts["rejected"]) == (good, BAD_IMAGES + BAD_LINES)
        assert fashion.http.get("healthcheck").json() == {"status": "ok", "images": good}
        found = fashion.failures(loaded["task_id"])
        codes = Counter(one["errors"][0]["code"] for one in found)
        assert codes["image_missing"] == codes["not_an_image"] == codes["image_broken"] == codes["unsafe_path"] == 3
        assert len(found) == BAD_IMAGES + BAD_LINES
        assert all(one["errors"][0]["reason"] for one in found)

    def test_loaded_again_nothing_is_doubled(self, fashion: Fashion, loaded: Json) -> None:
        fashion.done("insert2db")
        assert fashion.http.get("healthcheck").json()["images"] == COUNT - BAD_IMAGES


@pytest.mark.usefixtures("loaded")
class TestQuery:
    def test_what_filters_select_is_written_as_it_is(self, fashion: Fashion) -> None:
        found = fashion.done("query", {"articleType": ["Mugs", "Cats"], "year": {"ge": 2012}, "gender": "Women"})
        files = fashion.files(found["task_id"])
        listed = rows(files["metadata.csv"])
        assert listed
        for row in listed:
            assert row["article_type"] in ("Mugs", "Cats")
            assert int(row["year"]) >= 2012
            assert row["gender"] == "Women"
            assert files[row["file"]] == fashion.image(int(row["id"])).read_bytes()
        assert len([name for name in files if name.startswith("images/")]) == len(listed)
        assert found["record_counts"]["succeeded"] == len(listed)
        assert fashion.archive(found["task_id"]) == files

    def test_transformed_images_are_cropped_and_resized_and_the_same_again(self, fashion: Fashion) -> None:
        one, other, third = (
            fashion.files(fashion.done("transformedquery", {"masterCategory": "Home"}, seed=seed)["task_id"])
            for seed in (7, 7, 8)
        )
        assert one == other
        images = [name for name in one if name.startswith("images/")]
        assert images
        assert {size(one[name]) for name in images} == {(256, 256)}
        assert all(one[name] != third[name] for name in images)

    def test_an_image_that_is_lost_or_broken_after_it_was_loaded_is_listed_and_the_rest_goes_on(
        self, fashion: Fashion
    ) -> None:
        lost, broken, kept = fashion.image(10001), fashion.image(10002), fashion.data / "kept"
        kept.mkdir()
        shutil.copy(lost, kept), shutil.copy(broken, kept)
        try:
            lost.unlink()
            broken.write_bytes(b"GIF89a and no more")
            found = fashion.done("transformedquery", {"id": ["10000", "10001", "10002"]})
        finally:
            shutil.copy(kept / lost.name, lost), shutil.copy(kept / broken.name, broken)
        files = fashion.files(found["task_id"])
        assert [row["id"] for row in rows(files["metadata.csv"])] == ["10000"]
        listed = {row["key"]: row for row in rows(files["failures.csv"])}
        assert fashion.failures(found["task_id"]) == [*listed.values()]
        assert listed["10001"]["code"] == "image_missing"
        assert listed["10002"]["code"] in ("image_broken", "not_an_image")
        assert found["record_counts"]["rejected"] == 2

    @pytest.mark.promise(2)
    def test_a_killed_worker_costs_no_finished_chunk_and_the_result_is_the_same(self, fashion: Fashion) -> None:
        whole = fashion.files(fashion.done("transformedquery", {}, seed=3)["task_id"])
        task = fashion.post("transformedquery", {}, seed=3)
        folder = fashion.output / task / "images"

        def some() -> list[Path]:
            return list(folder.glob("*.jpg")) if folder.is_dir() else []

        before = eventually(lambda: found if 20 <= len(found := some()) < 250 else None, "some images are there", 60)
        times = {file: file.stat().st_mtime_ns for file in before}
        fashion.example.kill("worker-long")
        assert fashion.result(task)["state"] == "succeeded"
        assert fashion.files(task) == whole
        kept = [file for file, time in times.items() if file.stat().st_mtime_ns == time]
        # At most the chunks that both processes had in hand were made anew.
        assert len(times) - len(kept) <= 2 * 20

    def test_a_task_that_waits_is_a_202(self, fashion: Fashion) -> None:
        with fashion.example.frozen("worker-long"):
            task = fashion.post("query", {"id": "10000"})
            answer = fashion.http.get(f"result/{task}")
            assert (answer.status_code, answer.json()["state"]) == (202, "queued")
        assert fashion.result(task)["state"] == "succeeded"

    def test_nothing_selected_is_an_empty_result(self, fashion: Fashion) -> None:
        found = fashion.done("query", {"gender": "Nobody"})
        assert rows(fashion.files(found["task_id"])["metadata.csv"]) == []

    def test_nonsense_is_refused_with_what_is_valid(self, fashion: Fashion) -> None:
        for path, body, said in (
            ("query", {"colour": "red"}, "baseColour"),
            ("query", {"year": "soon"}, "integer"),
            ("query", {"year": {"near": 3}}, "near"),
            ("query", [1], "dict"),
        ):
            answer = fashion.http.post(path, json=body)
            assert answer.status_code == 422, answer.text
            assert said in answer.text
        assert fashion.http.get("result/nonsense").status_code == 404
        assert fashion.http.get("result/00000000-0000-7000-8000-000000000000/zip").status_code == 404
        assert fashion.http.post("transformedquery?seed=x", json={}).status_code == 422


@pytest.mark.usefixtures("loaded")
class TestPredict:
    @pytest.mark.parametrize(("name", "label"), [("coffee.png", "Mugs"), ("chelsea.png", "Cats")])
    def test_an_image_that_is_not_in_the_set_gets_its_label_vector_and_neighbours(
        self, fashion: Fashion, name: str, label: str
    ) -> None:
        unseen = encoded(photograph(name, (600, 600)).crop((33, 33, 393, 513)))
        answer = fashion.http.post("predict", files={"image": unseen})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["label"] == label
        assert len(found["similar"]) == 7
        distances = [one["distance"] for one in found["similar"]]
        assert distances == sorted(distances)
        assert all(isinstance(one, float) for one in found["embedding"])

    def test_a_file_that_is_no_image_is_refused(self, fashion: Fashion) -> None:
        for what, data in hostile().items():
            answer = fashion.http.post("predict", files={"image": data})
            assert answer.status_code == 422, (what, answer.text)
        assert fashion.http.post("predict").status_code == 422
