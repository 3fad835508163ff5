"""A simulated stream: one record a second, in batches of ten, as three tables of the newest batch or of a window.

make example NAME=stream PORT=8101; docs/applications.md tells how it is made.
"""

import os
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Header
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline

from gristmill.client import Client, ClientError, Conflict

URL, NAME = os.environ["GRISTMILL_URL"], "stream"
CONTRACT = {
    "name": NAME,
    "fields": [
        {"name": "timestamp", "type": "timestamp", "required": True, "zone": os.environ.get("STREAM_ZONE", "UTC")},
        {"name": "id", "type": "uuid", "required": True},
        {"name": "value", "type": "float", "required": True},
    ],
    "key": ["id"],
    "time_field": "timestamp",
    "views": {
        "latest": [{"op": "rolling", "column": "value", "window": "5s", "agg": "mean", "as": "moving_avg"}],
        "melted": [{"op": "melt", "index": ["id"], "columns": ["value"], "value": "val"}],
        "pivoted": [{"op": "group", "by": ["id"], "measures": [{"agg": "mean", "column": "value", "as": "value"}]}],
    },
}
SOURCE = {
    "interval": float(os.environ.get("STREAM_INTERVAL", "1")),
    "batch_size": int(os.environ.get("STREAM_BATCH_SIZE", "10")),
    "batch_seconds": float(os.environ.get("STREAM_BATCH_SECONDS", "30")),
}
Json = dict[str, Any]


@asynccontextmanager
async def lifespan(_: FastAPI) -> Any:
    """Make the dataset and its source where they are not there yet; what they hold is never lost with this process."""
    with Client(URL, os.environ.get("GRISTMILL_API_KEY")) as client:
        client.create_dataset(CONTRACT, if_not_exists=True, wait=True)
        try:
            client.create_source(NAME, "simulator", NAME, SOURCE)
        except Conflict:
            client.change_source(NAME, settings=SOURCE)
    yield


app = FastAPIOffline(title="Simulated stream", lifespan=lifespan)


def gristmill(authorization: Annotated[str | None, Header()] = None) -> Iterator[Client]:
    """Give a client that has the caller's key: who may read here is who may read the dataset."""
    key = authorization.removeprefix("Bearer ") if authorization else None
    with Client(URL, key) as client:
        yield client


Gristmill = Annotated[Client, Depends(gristmill)]


@app.exception_handler(ClientError)
def say(_: Any, error: Any) -> JSONResponse:
    """Hand on what Gristmill says of a request."""
    return JSONResponse(*error.answer())


def results(client: Client, **window: Any) -> Json:
    """Return the three tables, of one window or of the newest batch; all three of the same records."""
    latest = client.view(NAME, "latest", **window)
    if latest["batch"] is not None:
        window = {"batch": latest["batch"]["job"]}
    elif latest["rows"]:
        window["end"] = latest["rows"][-1]["timestamp"]
    others = {name: client.view(NAME, name, **window)["rows"] for name in ("melted", "pivoted")}
    return {"batch": latest["batch"], "latest": latest["rows"], **others}


@app.get("/")
def about() -> Json:
    return {"name": app.title, "calls": ["/trigger", "/latest", "/query?start&end", "/docs"]}


@app.get("/trigger")
def trigger(client: Gristmill) -> Json:
    """Report the pipeline: where the records come from, how far it is, and what is made of them."""
    source = client.source(NAME)
    figures = ("state", "waits_for", "batches", "records", "rejected", "rate", "lag", "last_error", "settings")
    return {"dataset": NAME, **{name: source[name] for name in figures}, "results": CONTRACT["views"]}


@app.get("/latest")
def latest(client: Gristmill) -> Json:
    """The three tables of the newest batch."""
    return results(client)


@app.get("/query")
def query(client: Gristmill, start: str | None = None, end: str | None = None) -> Json:
    """The three tables of a window: either bound may be left out, both are included; without any the newest batch."""
    return results(client, start=start, end=end)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", timeout_keep_alive=75)
