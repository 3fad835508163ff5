"""A registry of continents, countries and cities: nested reads, queued writes, children that stay within their parent.

make example NAME=geography PORT=8102; docs/geography.md tells what it shows.
"""

import os
from contextlib import asynccontextmanager
from functools import lru_cache
from itertools import islice
from typing import Annotated, Any

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from pydantic import ConfigDict, WithJsonSchema, create_model
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException

from gristmill.client import Client, ClientError, Retry

URL, KEY = os.environ["GRISTMILL_URL"], os.environ.get("GRISTMILL_API_KEY")
NAME = {"type": "text", "required": True, "max_length": 200, "normalize": "NFC"}
# Enough for the Earth in square metres; nine thousand of them still add up to a 64-bit integer.
NUMBER = {"type": "integer", "minimum": 0, "maximum": 10**15}
MEDIA_TYPE = "application/problem+json"
PLURAL = {"continent": "continents", "country": "countries", "city": "cities"}
Json = dict[str, Any]


def contract(kind: str, above: str | None = None, *figures: str) -> Json:
    """Return the contract of one kind of place, whose areas and populations add up to at most those of the parent."""
    fields = [{"name": name, **NAME} for name in ("name", above) if name]
    fields += [{"name": name, **NUMBER, "required": True} for name in ("area", "population")]
    fields += [{"name": name, **NUMBER} for name in figures]
    limits = [{"sum": name, "at_most": name} for name in ("area", "population")]
    parent = {"field": above, "dataset": above, "on_delete": "cascade", "on_rename": "cascade", "limits": limits}
    return {"name": kind, "key": ["name"], "fields": fields, **({"parents": [parent]} if above else {})}


# Parents before their children; of each the kind above it and how many levels are below it.
PLACES = (
    ("continent", None, 2, contract("continent")),
    ("country", "continent", 1, contract("country", "continent", "hospitals", "parks")),
    ("city", "country", 0, contract("city", "country", "roads", "trees")),
)


@asynccontextmanager
async def lifespan(_: FastAPI) -> Any:
    """Make the datasets where they are not there yet."""
    with Client(URL, KEY) as client:
        for *_, one in PLACES:
            client.create_dataset(one, if_not_exists=True, wait=True)
    yield


# The rest of a path, whatever its characters: names have slashes, and line ends.
register_url_convertor("whole", type("Whole", (StringConvertor,), {"regex": r"(?s:.*)"})())
app = FastAPIOffline(title="Registry of continents, countries and cities", lifespan=lifespan)
client_of = lru_cache(maxsize=100)(lambda key: Client(URL, key))


def gristmill(key: Annotated[Any, Depends(HTTPBearer(auto_error=False))]) -> Client:
    """Give the client that has the caller's key: who may write here is who may write the datasets."""
    client: Client = client_of(key and key.credentials)
    return client


Gristmill = Annotated[Client, Depends(gristmill)]
Skip, Limit = Annotated[int, Query(ge=0, lt=2**63)], Annotated[int, Query(ge=0, le=1000)]
Key = Annotated[str | None, Header(alias="Idempotency-Key", description="Makes a write safe to repeat")]


@app.exception_handler(ClientError)
def say(_: Any, error: Any) -> JSONResponse:
    """Hand on what Gristmill says of a request."""
    return JSONResponse(*error.answer())


@app.exception_handler(RequestValidationError)
@app.exception_handler(HTTPException)
def say_wrong_call(_: Any, error: Any) -> JSONResponse:
    """Say what is wrong with a request that Gristmill never sees."""
    if isinstance(error, HTTPException):
        return JSONResponse({"status": error.status_code, "detail": error.detail}, error.status_code, None, MEDIA_TYPE)
    errors = [{"pointer": f"/{'/'.join(map(str, one['loc']))}", "reason": one["msg"]} for one in error.errors()]
    problem = {"status": 422, "code": "invalid", "detail": "{pointer}: {reason}".format(**errors[0]), "errors": errors}
    return JSONResponse(problem, 422, None, MEDIA_TYPE)


def queued(job: Json) -> JSONResponse:
    return JSONResponse({"message_id": job["id"]}, 202, {"Location": f"/api/v1/message/{job['id']}"})


def nested(record: Json) -> Json:
    """Return a record that has its children under their plural."""
    for kind, children in record.pop("_children", {}).items():
        record[PLURAL[kind]] = [nested(child) for child in children]
    return record


def body(title: str, fields: list[Json], **schema: Any) -> Any:
    """Return a body with the types that /docs shows; what values it may have is Gristmill's to say."""
    number = {"type": "integer", "minimum": 0, "maximum": NUMBER["maximum"], "examples": [100]}
    shown = {"text": {"type": "string"}, "integer": number}
    members: Json = {one["name"]: (Annotated[Any, WithJsonSchema(shown[one["type"]])], None) for one in fields}
    return create_model(title, __config__=ConfigDict(extra="forbid", json_schema_extra=schema), **members)


def serve(kind: str, fields: list[Json], above: str | None, levels: int) -> None:
    """Add the calls of one kind of place. above: the kind of its parent; levels: of places below it."""
    calls = APIRouter(prefix=f"/api/v1/{kind}", tags=[kind])
    own = [one for one in fields if one["name"] != above]
    New = body(f"New{kind}", own, required=[one["name"] for one in own if one.get("required")])
    Changes = body(f"Changed{kind}", fields)

    def in_parent(name: Annotated[str, Path(alias=above or "none")]) -> Json:
        return {above: name}

    Parent = Annotated[Json, Depends(in_parent if above else lambda: {})]

    @calls.post(f"/{{{above}:whole}}" if above else "/create", status_code=202, name=f"Create a {kind}")
    def create(client: Gristmill, parent: Parent, values: New, key: Key = None) -> Any:
        record = {**values.model_dump(exclude_unset=True), **parent}
        return queued(client.submit(kind, [record], on_conflict="fail", idempotency_key=key))

    @calls.get("", name=f"List {PLURAL[kind]}{' with everything in them' if levels else ''}")
    def read(client: Gristmill, skip: Skip = 0, limit: Limit = 100) -> list[Json]:
        first = next(islice(client.records(kind, fields=["name"], page_size=1000), skip, None), None)
        if first is None or limit == 0:
            return []
        below: Json = {"expand": ["children"], "depth": levels} if levels else {}
        found = client.records(kind, where={"name": {"ge": first["name"]}}, page_size=limit, **below)
        return [nested(record) for record in islice(found, limit)]

    @calls.patch("/{name:whole}", status_code=202, name=f"Change a {kind}")
    def change(client: Gristmill, name: str, values: Changes, key: Key = None) -> Any:
        return queued(client.patch(kind, name, values.model_dump(exclude_unset=True), idempotency_key=key))

    @calls.delete("/{name:whole}", status_code=202, name=f"Delete a {kind}{' with everything in it' if levels else ''}")
    def delete(client: Gristmill, name: str, key: Key = None) -> Any:
        return queued(client.delete(kind, name, idempotency_key=key))

    app.include_router(calls)


for place, parent, below, made in PLACES:
    serve(place, made["fields"], parent, below)


@app.get("/api/v1/message/{message_id}", tags=["message"])
def message(client: Gristmill, message_id: str) -> Json:
    """Say what became of a write: its state, and the reason where it failed."""
    job = client.job(message_id)
    return {"message_id": job["id"], **{name: job[name] for name in ("state", "done", "error", "created_at")}}


@app.get("/api/v1/healthcheck", tags=["healthcheck"])
def healthcheck() -> Json:
    """Say whether the registry can be read."""
    with Client(URL, KEY, timeout=5, retry=Retry(attempts=1)) as client:
        client.count("continent")
    return {"status": "ok"}


if __name__ == "__main__":
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_keep_alive=75)
