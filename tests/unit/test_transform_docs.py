"""docs/transforms.md is made of the steps, and names them all."""

from tests.support.embedders import registry
from tests.support.transforms_page import MARK, PAGE, made

from gristmill.bootstrap.images import build_images
from gristmill.bootstrap.steps import build_steps
from gristmill.core.config import Settings


def test_the_page_is_what_the_steps_say() -> None:
    by_hand, mark, rest = PAGE.read_text().partition(MARK)
    assert by_hand
    assert mark
    assert rest.strip() == made().strip(), "python -m tests.support.transforms_page writes the page anew"


def test_every_step_and_parameter_describes_itself() -> None:
    for step in build_steps(Settings(), registry, build_images(Settings())).as_json():
        assert step["description"].endswith("."), step["op"]
        assert step["examples"], step["op"]
        for name, schema in step["parameters"]["properties"].items():
            assert name == "op" or schema["description"].endswith("."), (step["op"], name)
