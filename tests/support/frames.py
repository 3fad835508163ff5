"""Frames as the client writes them, read as the server would."""

import io
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from gristmill.client import InvalidArgument
from gristmill.client._frames import write_frame


def sent(frame: Any) -> pa.Table:
    """Return what the server gets of a frame."""
    file = io.BytesIO()
    write_frame(frame, file)
    file.seek(0)
    with pa.ipc.open_stream(file) as stream:
        table = stream.read_all()
    table.validate(full=True)
    return table


def refused(frame: Any) -> str:
    with pytest.raises(InvalidArgument) as error:
        sent(frame)
    return str(error.value)


def column(*values: Any, dtype: Any = object) -> pd.DataFrame:
    return pd.DataFrame({"a": pd.Series(list(values), dtype=dtype)})
