"""The check in the worker: after records were written, their parents are there and all limits hold."""

from collections.abc import Sequence

import pyarrow as pa
from sqlalchemy import Connection

from gristmill.core.errors import Violation
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.parents.judge import check_children, check_parents_of
from gristmill.datasets.parents.relations import Relations
from gristmill.records.parents.bounds import refuse_beyond_bounds
from gristmill.records.parents.keys import Rows, distinct, find_place
from gristmill.records.parents.quarantine import Sifter


class WrittenRecords:
    """Checks what a chunk has written, in its transaction: what is wrong undoes all of that."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations

    def check(self, connection: Connection, dataset: Dataset, rows: Sequence[Rows], skip: bool = False) -> None:
        """Check the records in ``rows``: of one chunk, or of several jobs whose dataset has no limits.

        skip: those whose keys were there have not been written. Raises ParentMissing, LimitExceeded.
        """
        contract = dataset.contract
        for relation in self._relations.of(connection, dataset) if contract.parents else ():
            field = contract.field(relation.spec.field)
            keys = distinct(field, rows)
            if keys:
                check_children(connection, relation, keys, rows[0].seq, lambda key, f=field: find_place(f, rows, key))  # type: ignore[misc]
        if dataset.hierarchy:
            self._check_parents(connection, dataset, rows, skip)

    def unfit(
        self, connection: Connection, dataset: Dataset, table: pa.Table, places: Sequence[int], skip: bool
    ) -> dict[int, Violation]:
        """Return what is wrong with records that are about to be written, by their rows; for quarantine.

        places, skip: as of ``Sifter.sift``.
        """
        contract = dataset.contract
        above = self._relations.of(connection, dataset) if contract.parents else []
        below = self._relations.below(connection, contract) if dataset.hierarchy else []
        if not above and not below:
            return {}
        return dict(Sifter(connection, contract, above, below).sift(table, places, skip))

    def _check_parents(self, connection: Connection, dataset: Dataset, rows: Sequence[Rows], skip: bool) -> None:
        for relation in self._relations.below(connection, dataset.contract):
            if not relation.spec.bound_fields:
                continue
            for one in rows:
                if skip:
                    # What is stored may be another record than that of the request.
                    check_parents_of(connection, relation, distinct(dataset.contract.key_fields[0], [one]))
                else:
                    refuse_beyond_bounds(connection, relation, one, lock=True)
