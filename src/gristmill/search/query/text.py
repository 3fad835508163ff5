"""Ranking by words: the records that match a query of words, those first in which the words stand close together.

The query is what people type into a web search (``websearch_to_tsquery``): all words must occur, ``"a phrase"`` in this
order, ``or`` between words is either, ``-word`` must not occur. Nothing that is typed is an error. The score is cover
density (Clarke, Cormack and Tudhope, Relevance ranking for one to three term queries, 2000) as ``ts_rank_cd`` has it.
"""

import re

from gristmill.datasets.contract import TEXT_COLUMN
from gristmill.datasets.contract_parser import Contract

# Ranking reads every record that matches. If that takes too long, so many of them are ranked, and the answer says so.
RANKED_AT_MOST = 20_000


# A line of dashes is a rule between paragraphs and no negation of negations, which Postgres counts to 32 of.
_RULE = re.compile(r"(?:-\s*){2,}")


def typed(text: str) -> str:
    """Return what was typed as the statement's ``text``."""
    return _RULE.sub(" ", text)


def query_of(contract: Contract) -> str:
    """Return the expression of the query; the statement binds ``text``. Its constants let the planner count matches."""
    assert contract.text_search is not None
    return f"websearch_to_tsquery('{contract.text_search.language}'::regconfig, %(text)s)"


def matching(contract: Contract, table: str, where: str, limit: str, *, all_ranked: bool = True) -> str:
    """Return a SELECT of the ``limit`` best matches: _id, score. table: its quoted name. where: "" for no condition."""
    query = query_of(contract)
    condition = f"{TEXT_COLUMN} @@ {query}" + (f" AND ({where})" if where else "")
    source = f"{table} WHERE {condition}"
    if not all_ranked:
        source = f"(SELECT _id, {TEXT_COLUMN} FROM {source} LIMIT {RANKED_AT_MOST}) AS taken"
    rank = f"ts_rank_cd({TEXT_COLUMN}, {query})::float8"
    return f"SELECT _id, {rank} AS score FROM {source} ORDER BY score DESC, _id LIMIT {limit}"
