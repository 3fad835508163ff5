"""Completes the document that the routes give: schemas of bodies and answers, problems, security, servers, tags."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gristmill.api.openapi import problems
from gristmill.api.openapi.operations import OPERATIONS, PARAMETERS, Body, Operation
from gristmill.core.http.bodies import JSON
from gristmill.records.readers.dialect import PARAMETERS as DIALECT

_REF = "#/components/schemas/{model}"
_TAGS = {
    "datasets": "Datasets and their contracts.",
    "records": "Records of a dataset: submit, read, change, export.",
    "exports": "Stored exports: files that are made by jobs, and read until they expire.",
    "images": "Images of a dataset.",
    "sources": "Sources: what submits records continuously.",
    "schedules": "Schedules: jobs that are submitted at their times.",
    "search": "Search by meaning and by words, and the vector index.",
    "jobs": "Jobs: every write is one.",
    "service": "The process itself. These calls need no key.",
}
_METHODS = ("get", "post", "patch", "delete")
_BEARER = {"type": "http", "scheme": "bearer", "description": "An API key; on loopback none is needed by default."}
_HEADER = {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "The same key, another header."}
_HEADER_TEXTS = {
    name: {"description": text, "schema": {"type": kind}}
    for name, text, kind in (
        ("Location", "the path of the job, or of what was created", "string"),
        ("Retry-After", "seconds until it is worth looking again", "integer"),
        ("Preference-Applied", "the wait that was preferred, as it was heeded", "string"),
        ("ETag", "the version of what the body shows", "string"),
        ("Link", "the next page", "string"),
    )
}
# By status: headers of answers, each with the parameter that a call must have for it, or None.
_HEADERS: dict[str, dict[str, str | None]] = {
    "200": {"Preference-Applied": "prefer", "ETag": "if-none-match", "Link": "page_token"},
    "201": {"Location": None},
    "202": {"Location": None, "Retry-After": None, "Preference-Applied": "prefer"},
    "304": {"ETag": None},
}
_JOB_LINKS = {
    name: {"operationId": operation, "parameters": {"job_id": "$response.body#/id"}}
    for name, operation in (("job", "get_job"), ("cancel", "cancel_job"), ("rejects", "list_rejects"))
}


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Complete ``document`` in place and return it. Raises KeyError for a call that OPERATIONS does not know."""
    models: set[type[BaseModel]] = {problems.Problem}
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                found = methods[method]
                _describe(found, OPERATIONS[found["operationId"]], models)
                # On loopback no key is asked for, so none is an alternative.
                found["security"] = [{"key": []}, {"header": []}, {}] if path.startswith("/api/") else []
    _, schemas = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda one: one.__name__)], ref_template=_REF
    )
    document["components"] = {
        "schemas": dict(sorted(_plain(schemas["$defs"]).items())),
        "responses": problems.answers({412, *(status for one in OPERATIONS.values() for status in one.problems)}),
        "securitySchemes": {"key": _BEARER, "header": _HEADER},
    }
    document["servers"] = [{"url": "/", "description": "this server"}]
    document["tags"] = [{"name": name, "description": text} for name, text in _TAGS.items()]
    document["info"]["license"] = {"name": "Apache 2.0", "identifier": "Apache-2.0"}
    return document


def _parameter(found: dict[str, Any]) -> None:
    """Say what a parameter takes: those that are parsed by hand for the sake of their messages say only text."""
    schema = found["schema"]
    named = PARAMETERS.get(found["name"])
    if named is not None:
        found["schema"] = named
        return
    # Not to send a parameter is its null.
    kinds = [one for one in schema.pop("anyOf", []) if one != {"type": "null"}]
    schema.update(*kinds[:1])
    schema.pop("title", None)


def _describe(found: dict[str, Any], operation: Operation, models: set[type[BaseModel]]) -> None:
    responses: dict[str, Any] = {}
    for status, (text, model) in sorted(operation.answers.items()):
        contents = model if isinstance(model, Mapping) else {JSON: model}
        responses[str(status)] = {"description": text}
        if model is not None:
            responses[str(status)]["content"] = {kind: _media(one, models) for kind, one in contents.items()}
        if operation.makes_job:
            responses[str(status)]["links"] = _JOB_LINKS
    found["parameters"] = [one for one in found.get("parameters", []) if one["name"] not in operation.refused]
    names = {one["name"] for one in found["parameters"]}
    if "if-none-match" in names:
        responses["304"] = {"description": "It is the version that If-None-Match names"}
    refused = {*operation.problems, *((412,) if "if-match" in names else ())}
    responses |= {str(status): problems.reference(status) for status in sorted(refused)}
    for code, names_of in _HEADERS.items():
        if code in responses:
            headers = {
                header: _HEADER_TEXTS[header] for header, name in names_of.items() if name is None or name in names
            }
            responses[code] |= {"headers": headers} if headers else {}
    found["responses"] = responses
    for parameter in found["parameters"]:
        _parameter(parameter)
    found["parameters"] = _group_dialect(found["parameters"])
    if operation.body is not None:
        found["requestBody"] = {"required": True, "content": _content(operation.body, models)}


def _group_dialect(parameters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parameters of a call with those of CSV as members of one; in a URL each is one of its own.

    Generated clients have arguments of the names of parameters, and some call a function ``quote`` for the path.
    """
    members = {one["name"]: one for one in parameters if one["in"] == "query" and one["name"] in DIALECT}
    if members.keys() != set(DIALECT):
        return parameters
    properties = {name: {**one["schema"], "description": one["description"]} for name, one in members.items()}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    text = "what CSV is written in; each member is a parameter of the URL"
    csv = {"name": "csv", "in": "query", "required": False, "style": "form", "explode": True, "schema": schema}
    return [*(one for one in parameters if one["name"] not in members), {**csv, "description": text}]


def _content(body: Body, models: set[type[BaseModel]]) -> dict[str, Any]:
    content = {kind: _media(one, models) for kind, one in body.media.items()}
    first = next(iter(content.values()))
    first["examples"] = {name: {"value": value} for name, value in body.examples.items()}
    return content


def _media(model: Any, models: set[type[BaseModel]]) -> dict[str, Any]:
    if isinstance(model, Mapping) and "schema" in model:
        return dict(model)
    return {"schema": _schema(model, models)}


def _schema(model: Any, models: set[type[BaseModel]]) -> Any:
    """Return ``model`` as a schema: models in it, at whatever depth, as references."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        models.add(model)
        return {"$ref": _REF.format(model=model.__name__)}
    if isinstance(model, Mapping):
        return {name: _schema(item, models) for name, item in model.items()}
    return [_schema(item, models) for item in model] if isinstance(model, list) else model


def _plain(schema: Any) -> Any:
    """Return ``schema`` without the titles that pydantic makes of names: generators would name types by them."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: item for name, item in schema.items() if not (name == "title" and isinstance(item, str))}
    return {name: _plain(item) for name, item in kept.items()}
