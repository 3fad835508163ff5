"""Embedders from files: a folder with ``model.onnx`` and ``preprocessor_config.json`` is the embedder ``onnx_<name>``.

The model takes one batch of images of shape (batch, 3, height, width). Its vector is the output ``image_embeds``, else
``pooler_output``, else the first one. Of an output with tokens or places, (batch, tokens, dimensions) or (batch,
dimensions, rows, columns), the vector is their mean. The library onnxruntime is an extra, ``gristmill[onnx]``.
"""

import hashlib
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gristmill.core.errors import Invalid
from gristmill.embeddings.errors import EmbedderBroken, EmbedderNotInstalled
from gristmill.embeddings.port import Description, Vectors
from gristmill.images.embedders.base import OneByOne
from gristmill.images.embedders.preprocessing import Preprocessing, read_preprocessing
from gristmill.images.encode import on_white
from gristmill.images.errors import BadImage
from gristmill.images.reader import ImageReader

PREFIX = "onnx_"
MODEL, CONFIG = "model.onnx", "preprocessor_config.json"
# A model's weights may lie beside it in files of their own, such as model.onnx_data.
_BESIDE = "model.onnx*"
_PREFERRED = ("image_embeds", "pooler_output")
_MOST_CONFIG = 1024 * 1024
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
# What a process knows of its models is found out once, whoever asks.
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Model:
    """A loaded model. dimensions: of its vectors."""

    session: Any
    preprocessing: Preprocessing
    input: str
    kind: Any
    output: str
    version: str
    dimensions: int


def describe(name: str, folder: Path) -> Description:
    """Return name, version (a digest of the files) and dimensions. Raises EmbedderNotInstalled, EmbedderBroken."""
    model = _model(name, folder)
    return Description(name, model.version, model.dimensions)


class OnnxEmbedder(OneByOne):
    """Runs one image after the other through a model, in one thread: the parallelism is in the worker processes."""

    def __init__(self, name: str, folder: Path, reader: ImageReader) -> None:
        super().__init__(describe(name, folder), reader)
        self._model = _model(name, folder)

    def vector(self, image: Image.Image) -> Vectors:
        found = _run(self._model, on_white(image).convert("RGB"))
        length = float(np.linalg.norm(found))
        if not np.isfinite(length) or length == 0:
            raise BadImage("nothing_to_embed", "has no vector: the model gives none with a direction")
        return found / np.float32(length)


def _model(name: str, folder: Path) -> _Model:
    try:
        files = sorted([*folder.glob(_BESIDE), folder / CONFIG])
        stamps = tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)
        if not (folder / MODEL).is_file():
            raise FileNotFoundError(f"there is no {MODEL}")
    except OSError as error:
        raise _broken(name, folder, str(error)) from error
    with _lock:
        return _loaded(name, folder, stamps)


@lru_cache(maxsize=64)
def _loaded(name: str, folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> _Model:
    """Return the model whose files have these sizes and times. It is kept."""
    try:
        import onnxruntime  # noqa: PLC0415 - the library belongs to an extra
    except ImportError as error:
        reason = f"The embedder {name!r} needs the package onnxruntime: pip install 'gristmill[onnx]'."
        raise EmbedderNotInstalled(reason) from error
    options = onnxruntime.SessionOptions()
    # No pool of threads: one that was started before a fork hangs after it.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        if (folder / CONFIG).stat().st_size > _MOST_CONFIG:
            raise Invalid(f"{CONFIG} has more than {_MOST_CONFIG} bytes")
        preprocessing = read_preprocessing((folder / CONFIG).read_bytes(), CONFIG)
        digest = hashlib.sha256()
        for path, _, _ in stamps:
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        session = onnxruntime.InferenceSession(str(folder / MODEL), options, providers=["CPUExecutionProvider"])
        input_, kind, output = _ends(session)
        model = _Model(session, preprocessing, input_, kind, output, digest.hexdigest()[:32], 0)
        probe = Image.new("RGB", (320, 240), (120, 130, 140))
        found = _run(model, probe)
    except Invalid as error:
        raise _broken(name, folder, error.detail) from error
    except Exception as error:
        raise _broken(name, folder, str(error).replace("\n", " ")[:400]) from error
    return _Model(session, preprocessing, input_, kind, output, model.version, len(found))


def _ends(session: Any) -> tuple[str, Any, str]:
    """Return the name and the numpy type of the input, and the name of the output. Raises Invalid."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        given = ", ".join(one.name for one in inputs)
        raise Invalid(f"the model has the inputs {given}: it has to have one, the images (export its image part alone)")
    (one,) = inputs
    if one.type not in _TYPES or len(one.shape) != 4 or (isinstance(one.shape[1], int) and one.shape[1] != 3):
        reason = f"the input {one.name} is {one.type} of shape {one.shape}: it has to be floats of shape "
        raise Invalid(reason + "(batch, 3, height, width)")
    if isinstance(one.shape[0], int) and one.shape[0] != 1:
        raise Invalid(f"the input {one.name} takes {one.shape[0]} images at once: its batch has to be free, or 1")
    names: list[str] = [output.name for output in session.get_outputs()]
    return str(one.name), _TYPES[one.type], next((name for name in _PREFERRED if name in names), names[0])


def _run(model: _Model, image: Image.Image) -> Vectors:
    """Return the vector of an image in RGB, of shape (dimensions,). Raises Invalid for an output of another shape."""
    pixels = model.preprocessing.pixels(image)[None].astype(model.kind)
    (found,) = model.session.run([model.output], {model.input: pixels})
    found = np.asarray(found, np.float32)
    if found.ndim == 4:
        found = found.mean(axis=(2, 3))
    elif found.ndim == 3:
        found = found.mean(axis=1)
    if found.ndim != 2 or found.shape[0] != 1 or not found.shape[1]:
        raise Invalid(f"the output {model.output} has the shape {list(found.shape)}: no vector for each image")
    vector: Vectors = found[0]
    return vector


def _broken(name: str, folder: Path, reason: str) -> EmbedderBroken:
    return EmbedderBroken(f"The embedder {name!r} cannot be used; its files are in {folder}: {reason}")
