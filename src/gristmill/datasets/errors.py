"""Errors of the dataset domain.

GristmillError
├── NotFound ── UnknownDataset            no dataset of that name (or it is dropped)
├── Conflict
│   ├── DatasetExists                     the name is taken
│   ├── ContractDiffers                   the name is taken by a dataset with another contract than was asked for
│   ├── DatasetFailed                     the dataset's creation failed; the detail says why
│   ├── ChangeUnderWay                    another change of the dataset has to end first
│   ├── HasChildren                       other datasets name this one as their parent's
│   ├── ChangeFailed                      the contract version that something was validated under was never applied
│   └── TableExists                       a table of that name stands in the schema and is not this dataset's
├── Unconfirmed                           a drop that does not name the dataset a second time
├── Unavailable ── TableBusy              retryable: a lock on the table was not had in time
└── IndexBuildInterrupted                 retryable: an index build was cancelled or kept from its locks
    └── OutOfSpace                        Postgres had no memory left for it
        └── NoDiskLeft                    no disk, or no shared memory: it waits
"""

from gristmill.core.errors import Conflict, GristmillError, NotFound, Unavailable


class UnknownDataset(NotFound):
    code = "unknown_dataset"
    title = "Unknown dataset"


class DatasetExists(Conflict):
    code = "dataset_exists"
    title = "The dataset exists"


class ContractDiffers(Conflict):
    code = "contract_differs"
    title = "The dataset has another contract"


class DatasetFailed(Conflict):
    code = "dataset_failed"
    title = "The dataset could not be created"


class ChangeFailed(Conflict):
    code = "contract_change_failed"
    title = "The change of the contract failed"


class HasChildren(Conflict):
    code = "has_children"
    title = "Other datasets name this one as their parent's"


class ChangeUnderWay(Conflict):
    code = "change_under_way"
    title = "Another change goes on"


class TableExists(Conflict):
    code = "table_exists"
    title = "The table exists"


class Unconfirmed(GristmillError):
    code = "unconfirmed"
    kind = "invalid"
    status = 428
    title = "The drop is not confirmed"


class TableBusy(Unavailable):
    code = "table_busy"
    title = "The table is in use"


class IndexBuildInterrupted(GristmillError):
    """Somebody needed the table (a change or drop of the dataset), or a long transaction kept the build waiting."""

    code = "index_build_interrupted"
    kind = "unavailable"
    status = 503
    title = "The index build was interrupted"
    retryable = True


class OutOfSpace(IndexBuildInterrupted):
    """The graph did not fit the shared memory of the machine, or the index its disk."""


class NoDiskLeft(OutOfSpace):
    code = "storage_full"
    title = "No room on disk"
    costs_attempt = False
