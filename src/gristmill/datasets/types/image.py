"""image: the bytes of a PNG, JPEG, GIF or WebP file, or the path of one below the image folder."""

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core import core_schema as schemas

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import columns
from gristmill.datasets.types.base import Expression, FieldType, Mistake
from gristmill.storage.errors import UnsafeName
from gristmill.storage.names import parts_of

DEFAULT_MAX_BYTES = 1024 * 1024
# An image travels as one record of one chunk, and chunks end at 8 MiB.
MAX_BYTES = 4 * 1024 * 1024
# Images are files that are read and decoded one by one, and what is made of them is large. So many take seconds, or a
# minute where each has many megapixels: their chunk ends in time, and within the memory of a step.
IMAGES_OF_A_CHUNK = 500
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")
# Paths that are safe whatever else is true of them, so that most are judged as a column; the others are read singly.
_PLAIN_PART = r"[A-Za-z0-9_-]([A-Za-z0-9_.-]{0,60}[A-Za-z0-9_-])?"
_PLAIN_PATH = f"^{_PLAIN_PART}(/{_PLAIN_PART}){{0,8}}$"
_DEVICE = r"(?i)(^|/)(con|prn|aux|nul|com[0-9]|lpt[0-9])"


class Image(FieldType):
    name = "image"
    limits = ("max_bytes", "stored_as")
    operators = ("null",)
    may_be_key = False
    read_by = "image"
    most_of_a_chunk = IMAGES_OF_A_CHUNK
    # What derive makes is text: a path, or base64.
    takes = ("text",)

    def check(self, field: FieldSpec) -> Iterator[Mistake]:
        if field.max_bytes is not None and is_path(field):
            reason = "max_bytes is of images that are stored in the record, and this one is a path"
            yield "max_bytes", "not_applicable", reason
        elif field.max_bytes is not None and not 1 <= field.max_bytes <= MAX_BYTES:
            yield "max_bytes", "out_of_range", f"{shorten(field.max_bytes)} is not from 1 to {MAX_BYTES}"

    def check_widening(self, before: FieldSpec, after: FieldSpec) -> Iterator[tuple[str, str]]:
        low, high = most_bytes(before), most_bytes(after)
        if high < low:
            yield "max_bytes", f"{high} is smaller than {low}: a limit can only be widened"

    def describe(self, field: FieldSpec) -> str:
        if is_path(field):
            return "the path of an image below the image folder, such as shoes/10001.jpg"
        return f"a base64 string of a PNG, JPEG, GIF or WebP image of at most {most_bytes(field)} bytes"

    def schema(self, field: FieldSpec) -> CoreSchema:
        if is_path(field):
            return schemas.no_info_after_validator_function(_checked_path, schemas.str_schema(strict=True))
        limit = most_bytes(field)

        def decode(text: str) -> bytes:
            # base64 is a third longer than what it holds, so this refuses an oversized image before decoding it.
            if len(text) > (limit + 2) // 3 * 4:
                raise PydanticCustomError("too_large", f"holds more than {limit} bytes")
            try:
                data = base64.b64decode(text.encode("ascii"), validate=True)
            except (binascii.Error, UnicodeEncodeError) as error:
                reason = "is not base64 (RFC 4648, standard alphabet, padded)"
                raise PydanticCustomError("not_base64", reason) from error
            mistake = mistake_in(field, data)
            if mistake is not None:
                raise PydanticCustomError(*mistake)
            return data

        return schemas.no_info_after_validator_function(decode, schemas.str_schema(strict=True))

    def show(self, value: Any) -> Any:
        return value if isinstance(value, str) else base64.b64encode(bytes(value)).decode()

    def accepted(self, field: FieldSpec) -> str:
        return "string (a path)" if is_path(field) else "binary, or string (of base64)"

    def accepts(self, field: FieldSpec, kind: pa.DataType) -> bool:
        binary = bool(pa.types.is_binary(columns.plain_type(kind))) and not is_path(field)
        return binary or columns.is_text(kind)

    def check_column(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        """Take the bytes of images, and paths; texts of base64 are left to single validation."""
        if is_path(field):
            plain = columns.to_mask(pc.match_substring_regex(array, _PLAIN_PATH))
            device = columns.to_mask(pc.match_substring_regex(array, _DEVICE))
            return array, columns.valid_mask(array) & (~plain | device)
        if pa.types.is_string(array.type):
            return pa.nulls(len(array), pa.binary()), columns.valid_mask(array)
        limit = most_bytes(field)
        bad = [
            value.is_valid and not (len(value.as_buffer()) <= limit and _is_image(value.as_py()[:16]))
            for value in array
        ]
        return array, np.array(bad, np.bool_)

    def from_scalar(self, scalar: pa.Scalar) -> Any:
        value = scalar.as_py()
        return base64.b64encode(value).decode() if isinstance(value, bytes) else value

    def arrow(self, field: FieldSpec) -> pa.DataType:
        return pa.string() if is_path(field) else pa.binary()

    def column(self, field: FieldSpec) -> sa.types.TypeEngine[Any]:
        return sa.Text(collation="C") if is_path(field) else sa.LargeBinary()

    def staging(self, field: FieldSpec) -> str:
        return 'text COLLATE "C"' if is_path(field) else "bytea"

    def csv_cell(self, column: Expression) -> Expression:
        if isinstance(column.type, sa.Text):
            return column
        # Postgres breaks base64 into lines.
        return sa.func.translate(sa.func.encode(column, "base64"), "\n", "")

    def json_member(self, column: Expression) -> Expression:
        return self.csv_cell(column)

    def arrow_cell(self, column: Expression) -> Expression:
        if isinstance(column.type, sa.Text):
            return column
        return sa.func.encode(column, "hex")

    def text_bytes(self, field: FieldSpec, column: Expression) -> int | Expression:
        if is_path(field):
            return sa.func.coalesce(sa.func.octet_length(column), 0)
        return sa.func.coalesce(2 * sa.func.octet_length(column), 0)

    def read_type(self, field: FieldSpec) -> pa.DataType:
        return pa.string()

    def finish(self, field: FieldSpec, column: pa.ChunkedArray) -> Any:
        if is_path(field):
            return column
        return pa.array([None if text is None else bytes.fromhex(text) for text in column.to_pylist()], pa.binary())


def image_fields(fields: Sequence[FieldSpec]) -> list[FieldSpec]:
    """Return those that are of this type."""
    return [field for field in fields if field.type == Image.name]


def is_path(field: FieldSpec) -> bool:
    """Say whether records have the path of the image, and not its bytes."""
    return field.stored_as == "path"


def most_bytes(field: FieldSpec) -> int:
    """Return how many bytes an image in the record may have."""
    return field.max_bytes or DEFAULT_MAX_BYTES


def mistake_in(field: FieldSpec, data: bytes) -> tuple[Literal["too_large", "not_an_image"], str] | None:
    """Return (code, clause) for what is wrong with the bytes of an image that is stored in the record."""
    if len(data) > most_bytes(field):
        return "too_large", f"holds more than {most_bytes(field)} bytes"
    if not _is_image(data):
        return "not_an_image", "is not a PNG, JPEG, GIF or WebP image"
    return None


def _checked_path(text: str) -> str:
    try:
        parts_of(text)
    except UnsafeName as error:
        raise PydanticCustomError("unsafe_path", "{reason}", {"reason": f"is no safe path: {error.detail}"}) from error
    return text


def _is_image(data: bytes) -> bool:
    """Say whether ``data`` begins as one of the formats that are taken does; its first 16 bytes are enough."""
    return data.startswith(_STARTS) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


TYPE = Image()
