"""Two rankings made one: reciprocal rank fusion.

A record's score is the sum over both rankings of weight / (60 + its rank in it) (Cormack, Clarke and Büttcher,
Reciprocal rank fusion outperforms Condorcet and individual rank learning methods, 2009). Distances and word scores,
which have no common scale, are never compared.
"""

# The constant of the paper: how much the first places count more than the later ones.
CONSTANT = 60
# Each ranking is followed so far at least; a record beyond it in both is no hit.
DEPTH = 100


def fused(words: str) -> str:
    """Return the expressions ``near``, ``words`` and ``ranked`` (_id, place, distance, near_rank, words_rank).

    They follow ``nearest`` of ``vector``; words: the SELECT of ``text``. The statement binds ``depth``,
    ``vector_weight`` and ``text_weight``. place: the negative score, so that smaller is better.
    """
    return (
        "near AS MATERIALIZED (SELECT _id, distance, row_number() OVER (ORDER BY distance, _id) AS rank FROM nearest"
        " ORDER BY distance, _id LIMIT %(depth)s),"
        " words AS MATERIALIZED (SELECT _id, row_number() OVER (ORDER BY score DESC, _id) AS rank"
        f" FROM ({words}) AS matches),"
        " ranked AS MATERIALIZED (SELECT _id, -(coalesce(%(vector_weight)s::float8 / "
        f"({CONSTANT} + near.rank), 0) + coalesce(%(text_weight)s::float8 / ({CONSTANT} + words.rank), 0)) AS place,"
        " near.distance, near.rank AS near_rank, words.rank AS words_rank"
        " FROM near FULL JOIN words USING (_id) ORDER BY place, _id LIMIT %(limit)s)"
    )
