"""Calls about files whose contract nobody has written yet."""

import json
from collections.abc import Mapping
from typing import Any

from gristmill.client._bodies import Records
from gristmill.client._jobs import JobCalls
from gristmill.client._paths import API
from gristmill.client._samples import sample_body
from gristmill.client._transport import Json


class InferenceCalls(JobCalls):
    """Infer a contract."""

    def infer(
        self,
        records: Records,
        *,
        name: str | None = None,
        format: str | None = None,
        sheet: str | None = None,
        answers: Mapping[str, Any] | None = None,
    ) -> Json:
        """Return a contract that is proposed for records, with what it rests on; nothing is stored.

        records, format, sheet: as of ``submit``. The first part of them is sent, at most 64 MiB.
        name: that of the dataset, in the contract.
        answers: to the ``questions`` of an earlier answer, each by what it is ``about``.
        The answer has ``contract``, which ``create_dataset`` takes; ``columns``, the evidence for each field;
        ``csv``, the arguments of ``submit`` for the dialect of a CSV file;
        ``questions`` with what is ``proposed`` where nobody answers; ``read``, how much was looked at; and ``notes``.
        Raises InvalidRequest for what no contract fits.
        """
        with sample_body(records, format, sheet) as (body, partial):
            params = {
                "name": name,
                "answers": json.dumps(dict(answers)) if answers else None,
                "partial": "true" if partial else None,
            }
            answer: Json = self._transport.call("POST", f"{API}/datasets/infer", params=params, body=body)
        return answer
