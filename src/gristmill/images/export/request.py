"""An export of images as it was asked for, compared with the contract; each mistake is named by its place."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.keys import NoKey
from gristmill.datasets.types.image import image_fields, is_path
from gristmill.images.export.errors import NoImageField
from gristmill.images.export.schemas import ImageExportRequest
from gristmill.images.steps.base import ImageOperation, parse_operations
from gristmill.records.bodies import read_body
from gristmill.records.read.shape import check_fields
from gristmill.transforms.spec import StepRefused

# Members of steps of pipelines that mean nothing in an export, and what does instead.
_NOT_IN_STEPS = {
    "column": "field, beside steps, names the images",
    "as": "the files are the result",
    "format": "format stands beside steps, for all of them",
    "quality": "quality stands beside steps, for all of them",
}
DAY = 86_400


def read_request(body: bytes, most_days: float, kinds: Mapping[str, ImageOperation]) -> ImageExportRequest:
    """Return what a body asks for, as far as it can be checked without a contract. Raises Malformed, Invalid."""
    request = read_body(ImageExportRequest, body or b"{}")
    violations = [one for place, step in enumerate(request.steps) for one in _step(place, step.as_json(), kinds)]
    if request.keep_days is not None and request.keep_days > most_days:
        reason = f"{request.keep_days:g} is too long: at most {most_days:g} days (export_keep_days)"
        violations.append(Violation("/keep_days", "bad_value", reason, field="keep_days"))
    if request.fields == []:
        reason = "fields names none: leave it out for all of them"
        violations.append(Violation("/fields", "bad_value", reason, field="fields"))
    if request.only_failed_of is not None:
        if request.where is not None:
            reason = "where and only_failed_of both say which records are exported: give one of them"
            violations.append(Violation("/where", "conflicting", reason, field="where"))
        if not _is_uuid(request.only_failed_of):
            reason = f"{shorten(request.only_failed_of)} is no id of an export, which is that of its job, a UUID"
            violations.append(Violation("/only_failed_of", "bad_value", reason, field="only_failed_of"))
    if violations:
        raise Invalid(violations[0].reason, violations)
    return request


def image_field(contract: Contract, request: ImageExportRequest) -> FieldSpec:
    """Return the field whose images are exported. Raises NoKey, NoImageField, Invalid."""
    if not contract.key:
        raise NoKey(f"The dataset {contract.name} has no key, by which the files of an export are called")
    images = [field.name for field in image_fields(contract.fields)]
    if request.field is None:
        if len(images) != 1:
            what = f"has several ({', '.join(images)}): name one as field" if images else "has none"
            raise NoImageField(f"An export is of one image field, and the dataset {contract.name} {what}")
        return contract.field(images[0])
    if request.field not in images:
        valid = f"they are: {', '.join(images)}" if images else f"{contract.name} has none"
        reason = f"{shorten(request.field)} is no image field; {valid}"
        raise Invalid(reason, [Violation("/field", "not_an_image_field", reason, field="field")])
    return contract.field(request.field)


def metadata_fields(contract: Contract, request: ImageExportRequest) -> list[str]:
    """Return the columns of metadata.csv: the key, and what was asked for. Raises Invalid."""
    check_fields(request.fields, contract, "/fields")
    bytes_of = {field.name for field in image_fields(contract.fields) if not is_path(field)}
    for place, name in enumerate(request.fields or ()):
        if name in bytes_of:
            reason = f"{name} holds images, which are files and no cells of metadata.csv"
            raise Invalid(reason, [Violation(f"/fields/{place}", "not_a_cell", reason, field=name)])
    wanted = [field.name for field in contract.fields] if request.fields is None else request.fields
    return [*contract.key, *(name for name in wanted if name not in contract.key and name not in bytes_of)]


def _step(place: int, step: dict[str, Any], kinds: Mapping[str, ImageOperation]) -> Iterator[Violation]:
    pointer = f"/steps/{place}"
    op = step["op"]
    if op not in kinds:
        reason = f"{shorten(op)} is no operation on images; they are: {', '.join(sorted(kinds))}"
        yield Violation(f"{pointer}/op", "unknown_step", reason, field="op")
        return
    for name, instead in _NOT_IN_STEPS.items():
        if name in step:
            yield Violation(f"{pointer}/{name}", "not_applicable", f"{name} has no meaning here: {instead}", field=name)
    try:
        for kind, parameters in parse_operations([step], kinds):
            kind.check(parameters)
    except StepRefused as error:
        for one in error.violations:
            if one.field not in _NOT_IN_STEPS:
                yield replace(one, pointer=pointer + one.pointer, reason=f"{op}: {one.reason}")


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
