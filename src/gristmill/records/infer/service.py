"""Inference as clients ask for it: a sample is read, a contract is proposed and checked as a creation would be."""

import json
from typing import Any, BinaryIO

from gristmill.core.http.bodies import parse_json
from gristmill.datasets.service import DatasetService
from gristmill.embeddings.errors import EmbedderNotInstalled
from gristmill.embeddings.registry import EmbedderRegistry
from gristmill.records.infer.propose import propose
from gristmill.records.infer.questions import bad_answer
from gristmill.records.infer.read import read_sample
from gristmill.records.readers import EXTENSIONS

_FORMATS = {kind: name for name, kind in reversed(EXTENSIONS.items())}
_MOST_ANSWERS = 100


class RecordInference:
    """Proposes contracts. Stores nothing."""

    def __init__(self, datasets: DatasetService, embedders: EmbedderRegistry, default_embedder: str) -> None:
        self._datasets = datasets
        self._embedders = embedders
        self._default = default_embedder

    def infer(self, file: BinaryIO, media_type: str, name: str, answers: str | None, partial: bool) -> dict[str, Any]:
        """Return the proposed contract for what ``file`` holds, as ``Inferred`` describes it.

        answers: a JSON object. partial: the file is the first part of one. Raises Malformed and Invalid.
        """
        given = _read_answers(answers)
        sample = read_sample(file, media_type, partial, given)
        proposal = propose(name, sample, given, self._embeds())
        # Whoever takes the proposal is not to learn afterwards that it is none.
        self._datasets.check_contract(json.loads(json.dumps(proposal.contract)))
        return {
            "contract": proposal.contract,
            "format": _FORMATS.get(media_type, media_type),
            "csv": sample.dialect.changed,
            "read": {
                "bytes": sample.bytes,
                "records": sample.records,
                "complete": sample.whole,
                "rejected": sample.rejected,
            },
            "columns": proposal.columns,
            "reasons": proposal.reasons,
            "questions": [one.as_json() for one in proposal.questions],
            "notes": proposal.notes,
            "errors": [one.as_json() for one in sample.violations],
        }

    def _embeds(self) -> bool:
        try:
            return self._embedders.reads(self._default) == "text" and bool(self._embedders.describe(self._default))
        except EmbedderNotInstalled:
            return False


def _read_answers(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    found = parse_json(text, "The parameter answers", "/query/answers")
    if not isinstance(found, dict) or len(found) > _MOST_ANSWERS:
        reason = f'answers is a JSON object of at most {_MOST_ANSWERS} answers, such as {{"key": "id"}}'
        raise bad_answer(reason, "wrong_type")
    return found
