"""The kinds of steps that pipelines may have."""

from gristmill.transforms.registry import StepRegistry
from gristmill.transforms.steps.derive import DERIVE
from gristmill.transforms.steps.filter import FILTER
from gristmill.transforms.steps.map import MAP


def build_steps() -> StepRegistry:
    """Return the registry."""
    return StepRegistry((MAP, FILTER, DERIVE))
