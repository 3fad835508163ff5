"""Errors of the record domain.

GristmillError
├── Invalid ── RecordUnfit        the pipeline made something of a record that does not fit the fields
├── Conflict
│   ├── KeyExists                 on_conflict=fail, and a record with that key is there already
│   ├── InputNotStored            a change needs what clients sent, and that is not stored
│   ├── EarlierChunkFailed        chunks of a job that run in turn: one before this one has failed
│   └── RecomputeNeeded           a change of many records would have to be worked out for each of them
└── NotFound ── UnknownRecord     no record has that key
"""

from gristmill.core.errors import Conflict, Invalid, NotFound


class KeyExists(Conflict):
    code = "key_exists"
    title = "The key exists"


class InputNotStored(Conflict):
    code = "input_not_stored"
    title = "The input is not stored"


class EarlierChunkFailed(Conflict):
    code = "earlier_chunk_failed"
    title = "An earlier chunk of the job has failed"


class RecomputeNeeded(Conflict):
    code = "recompute_needed"
    title = "Each record would have to be worked out anew"


class RecordUnfit(Invalid):
    code = "record_unfit"
    title = "A record does not fit after the pipeline"


class UnknownRecord(NotFound):
    code = "unknown_record"
    title = "Unknown record"
