"""An image data set: products loaded from metadata and a folder, selected, transformed, exported, predicted.

make example NAME=fashion PORT=8103; docs/fashion.md tells what it shows.
"""

import os
from collections import Counter
from configparser import ConfigParser
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import Annotated, Any

import uvicorn
from fastapi import APIRouter, Body, Depends, FastAPI, File, HTTPException, Response, UploadFile
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline

from gristmill.client import Client, ClientError, Retry

URL, KEY = os.environ["GRISTMILL_URL"], os.environ.get("GRISTMILL_API_KEY")
CONFIG = ConfigParser()
CONFIG.optionxform = str  # type: ignore[assignment, method-assign] - names of columns keep their case
CONFIG.read(os.environ.get("FASHION_CONFIG", Path(__file__).with_name("config.ini")), encoding="utf-8")
FOLDERS, COLUMNS, PREDICT = CONFIG["folders"], dict(CONFIG["columns"]), CONFIG["predict"]
METADATA = Path(os.environ.get("FASHION_DATA", FOLDERS["data"]), FOLDERS["metadata"])
ID, LABEL, DATASET = COLUMNS["id"], COLUMNS[PREDICT["label"]], "fashion"
# More than a search takes, so that Gristmill refuses what is larger.
MOST_BYTES = 16 * 1024 * 1024
Json = dict[str, Any]


SPECIAL = {ID: {"required": True, "max_length": 200}, "year": {"type": "integer"}}
FIELDS = [
    {"name": name, "type": "text", "filterable": name != ID, **SPECIAL.get(name, {})} for name in COLUMNS.values()
]
CONTRACT = {
    "name": DATASET,
    "input": list(COLUMNS.values()),
    "fields": [*FIELDS, {"name": "image", "type": "image", "stored_as": "path", "computed": True}],
    "key": [ID],
    "pipeline": [{"op": "derive", "as": "image", "value": f"'{FOLDERS['images']}/' + {ID} + '.jpg'"}],
    "embedding": {"from": ["image"], "embedder": PREDICT["embedder"]},
}
TRANSFORM = [
    {"op": "image_random_crop", "width": 0.8, "height": 0.8},
    {"op": "image_resize", "width": 256, "height": 256},
]


@asynccontextmanager
async def lifespan(_: FastAPI) -> Any:
    """Make the dataset where it is not there yet."""
    with Client(URL, KEY) as client:
        client.create_dataset(CONTRACT, if_not_exists=True, wait=True)
    yield


app = FastAPIOffline(title="Image data set", lifespan=lifespan)
calls = APIRouter(prefix="/api/v1/svc_ml", tags=["svc_ml"])
client_of = lru_cache(maxsize=100)(lambda key: Client(URL, key))


def gristmill(key: Annotated[Any, Depends(HTTPBearer(auto_error=False))]) -> Client:
    """Give the client that has the caller's key."""
    client: Client = client_of(key and key.credentials)
    return client


Gristmill = Annotated[Client, Depends(gristmill)]
Filters = Annotated[Json, Body(examples=[{"gender": "Women", "articleType": ["Tops", "Kurtas"], "year": {"ge": 2012}}])]


@app.exception_handler(ClientError)
def say(_: Any, error: Any) -> JSONResponse:
    """Hand on what Gristmill says of a request."""
    return JSONResponse(*error.answer())


def queued(job: Json) -> JSONResponse:
    place = f"{calls.prefix}/result/{job['id']}"
    return JSONResponse({"task_id": job["id"], "result": place}, 202, {"Location": place})


def where(filters: Json) -> Json:
    """Return filters by column, each a value, a list of values or comparisons, as Gristmill's ``where``."""
    if unknown := [name for name in filters if name not in COLUMNS]:
        raise HTTPException(422, f"{unknown[0][:80]} is no column; the columns are: {', '.join(COLUMNS)}")
    said = {list: lambda values: {"in": values}, dict: lambda comparisons: comparisons}
    return {COLUMNS[name]: said.get(type(value), lambda one: {"eq": one})(value) for name, value in filters.items()}


@calls.post("/insert2db", status_code=202)
def insert2db(client: Gristmill) -> Any:
    """Load the metadata; malformed lines, and images that are missing or broken, are among the failures of the task."""
    if not METADATA.is_file():
        raise HTTPException(409, f"There is no metadata file {METADATA}: see config.ini")
    with METADATA.open("rb") as file, TemporaryFile() as renamed:
        names = [COLUMNS.get(name, name) for name in file.readline().decode("utf-8-sig").strip().split(",")]
        renamed.write(f"{','.join(names)}\n".encode())
        copyfileobj(file, renamed)
        renamed.seek(0)
        return queued(client.submit(DATASET, renamed, format="csv", on_error="quarantine"))


@calls.post("/query", status_code=202)
def query(client: Gristmill, filters: Filters) -> Any:
    """Write the images that the filters select, and their metadata, to output/<task id>."""
    return queued(client.export_images(DATASET, where=where(filters), wait=False))


@calls.post("/transformedquery", status_code=202)
def transformedquery(client: Gristmill, filters: Filters, seed: int = 0) -> Any:
    """Do what query does with each image cropped at random, then resized; the same seed gives the same images."""
    return queued(client.export_images(DATASET, where=where(filters), steps=TRANSFORM, seed=seed, wait=False))


@calls.get("/result/{task_id}")
def result(client: Gristmill, task_id: str, response: Response) -> Json:
    """Say how far a task is (202), or what it made."""
    job = client.job(task_id)
    response.status_code = 200 if job["done"] else 202
    told = {name: job[name] for name in ("state", "progress", "record_counts", "error")}
    if job["state"] != "succeeded" or job["type"] != "images.export":
        return {"task_id": task_id, **told}
    place = f"{calls.prefix}/result/{task_id}"
    return {"task_id": task_id, **told, "folder": f"{FOLDERS['output']}/output/{task_id}", "zip": f"{place}/zip"}


@calls.get("/result/{task_id}/zip")
def archive(client: Gristmill, task_id: str) -> Any:
    """Hand on the zip of a result, piece by piece."""
    headers = {"Content-Length": str(client.stored_export(task_id)["bytes"])}
    return StreamingResponse(client.stored_export_pieces(task_id), headers=headers, media_type="application/zip")


@calls.get("/result/{task_id}/failures")
def failures(client: Gristmill, task_id: str) -> list[Json]:
    """List the records that a task could not do, each with its reason."""
    exported = client.job(task_id)["type"] == "images.export"
    return list(client.export_failures(task_id) if exported else client.rejects(task_id))


@calls.post("/predict")
def predict(client: Gristmill, image: Annotated[UploadFile, File()]) -> Json:
    """Say what an image shows, by the images that are most alike; give its vector, and them."""
    count, data = int(PREDICT["neighbours"]), image.file.read(MOST_BYTES)
    found = client.search(DATASET, image=data, k=count, include=["query_vector"])
    votes = Counter(hit["record"][LABEL] for hit in found["hits"])
    label = votes.most_common(1)[0][0] if votes else None
    return {"label": label, "votes": votes, "embedding": found["query_vector"], "similar": found["hits"]}


@calls.get("/healthcheck")
def healthcheck() -> Json:
    with Client(URL, KEY, timeout=5, retry=Retry(attempts=1)) as client:
        return {"status": "ok", "images": client.count(DATASET)}


app.include_router(calls)
if __name__ == "__main__":
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_keep_alive=75)
