"""Arrow IPC streams, read record batch by record batch."""

from collections.abc import Iterator

import pyarrow as pa

from gristmill.core.errors import Malformed
from gristmill.records.readers.columnar import by_field, read_batch
from gristmill.records.readers.context import ReadContext, RecordBlock, malformed
from gristmill.records.readers.limits.arrow_frames import check_frames
from gristmill.records.validation.columns import check_schema


def read_arrow(source: ReadContext) -> Iterator[RecordBlock]:
    """Yield the records of an Arrow stream. Raises Malformed for what cannot be read, Invalid for a wrong schema."""
    check_frames(source.file)
    source.file.seek(0)
    try:
        stream = pa.ipc.open_stream(source.file)
        places = check_schema(source.validator, by_field(source, stream.schema))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _broken("The body is not an Arrow IPC stream", error) from error
    source.problems.add(*places)
    source.problems.raise_if_any()
    stream = _without_unknown(source, stream)
    record = number = 0
    while True:
        try:
            batch = stream.read_next_batch()
            batch.validate(full=True)
        except StopIteration:
            return
        except (pa.ArrowException, OSError, ValueError) as error:
            where = f"Record batch {number} of the Arrow stream, from record {record} on, cannot be read"
            raise _broken(where, error) from error
        table = pa.Table.from_batches([batch])
        yield from read_batch(source, table.rename_columns(by_field(source, table.schema).names), record)
        record += batch.num_rows
        number += 1


def _without_unknown(source: ReadContext, stream: pa.RecordBatchStreamReader) -> pa.RecordBatchStreamReader:
    """Return the stream, without the columns that are no fields where these are passed over: they are not unpacked."""
    names = stream.schema.names
    fields = [index for index, name in enumerate(names) if source.validator.name_of(name) in source.validator.fields]
    if source.validator.unknown != "ignore" or len(fields) == len(names):
        return stream
    source.file.seek(0)
    return pa.ipc.open_stream(source.file, options=pa.ipc.IpcReadOptions(included_fields=fields))


def _broken(where: str, error: Exception) -> Malformed:
    reason = f"{where}: {str(error).splitlines()[0][:300] if str(error) else type(error).__name__}"
    return Malformed(reason, [malformed(reason)])
