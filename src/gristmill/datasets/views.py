"""The views of a contract: pipelines over what is stored, run when they are read."""

import json
from collections.abc import Iterator
from dataclasses import replace

from gristmill.core.errors import Violation
from gristmill.datasets.contract import Contract
from gristmill.datasets.step_types import bound_types, column_of
from gristmill.kit.identifiers import is_name
from gristmill.transforms.registry import StepRegistry
from gristmill.transforms.schema_rules import bind
from gristmill.transforms.spec import Step, StepRefused

MOST_VIEWS = 50


def bind_view(contract: Contract, name: str, registry: StepRegistry) -> list[Step]:
    """Return the steps of a view, bound to the fields of the contract.

    Raises StepRefused with pointers into the view, KeyError where there is none.
    """
    columns = {field.name: column_of(field) for field in contract.fields}
    return bind(contract.views.steps(name), columns, bound_types(contract), registry, open_end=True)


def check_views(contract: Contract, registry: StepRegistry) -> Iterator[Violation]:
    """Yield what is wrong with the views of an otherwise valid contract."""
    if len(contract.views.root) > MOST_VIEWS:
        reason = f"there are {len(contract.views.root)} views: at most {MOST_VIEWS} are possible"
        yield Violation("/views", "too_many", reason, field="views")
    for name, steps in contract.views.root.items():
        if not is_name(name):
            reason = f"{json.dumps(name)[:80]} names no view: a letter from a to z, then up to 47 of a-z, 0-9 and _"
            yield Violation("/views", "bad_name", reason, field=name[:80])
        elif not steps:
            yield Violation(f"/views/{name}", "empty", f"the view {name} has no step", field=name)
        else:
            try:
                for number, step in enumerate(bind_view(contract, name, registry)):
                    for column in sorted(one for one in step.writes if one.startswith("_")):
                        reason = f"{json.dumps(column)[:80]}: names with a leading _ are system columns"
                        yield Violation(f"/views/{name}/{number}", "reserved_name", reason, field=column[:80])
            except StepRefused as error:
                for one in error.violations:
                    yield replace(one, pointer=f"/views/{name}{one.pointer}")
