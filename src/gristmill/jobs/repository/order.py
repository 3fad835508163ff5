"""SQL of the order: whether an earlier unfinished job ``e`` that conflicts with a job ``j`` is in its way.

Two jobs conflict where they share a scope and one of them is exclusive in it. Every look-up is a probe of an index of
live jobs, whatever the length of the history; for a job with one scope those of further scopes find an empty range.
"""

_IN_OWN_SCOPE = """
    NOT EXISTS (SELECT FROM gristmill.jobs e
        WHERE e.scope = j.scope AND e.exclusive AND e.seq < j.seq AND e.finished_at IS NULL {only})
    AND (NOT j.exclusive OR NOT EXISTS (SELECT FROM gristmill.jobs e
        WHERE e.scope = j.scope AND e.seq < j.seq AND e.finished_at IS NULL {only}))
"""
# Asked of each entry that is found, so that the search begins with the entries of a scope and never with all live jobs.
_EARLIER = "(SELECT e.seq < j.seq AND e.finished_at IS NULL {only} FROM gristmill.jobs e WHERE e.id = o.job_id)"
# Its own scope against the further ones of others, then its further ones against others' own and further ones. What is
# shared in a scope, as most are, looks only at the few live entries that are exclusive in it.
_IN_FURTHER_SCOPES = f"""
    NOT EXISTS (SELECT FROM gristmill.further_scopes o
        WHERE o.scope = j.scope AND NOT o.finished AND o.exclusive AND {_EARLIER})
    AND (NOT j.exclusive OR NOT EXISTS (SELECT FROM gristmill.further_scopes o
        WHERE o.scope = j.scope AND NOT o.finished AND {_EARLIER}))
    AND NOT EXISTS (SELECT FROM gristmill.further_scopes f JOIN gristmill.jobs e ON e.scope = f.scope
        WHERE f.job_id = j.id AND (f.exclusive OR e.exclusive) AND e.seq < j.seq AND e.finished_at IS NULL {{only}})
    AND NOT EXISTS (SELECT FROM gristmill.further_scopes f
        JOIN gristmill.further_scopes o ON o.scope = f.scope AND NOT o.finished AND o.exclusive
        WHERE f.job_id = j.id AND {_EARLIER})
    AND NOT EXISTS (SELECT FROM gristmill.further_scopes f
        JOIN gristmill.further_scopes o ON o.scope = f.scope AND NOT o.finished
        WHERE f.job_id = j.id AND f.exclusive AND {_EARLIER})
"""  # noqa: S608 - a constant of this file


def is_first(only: str = "") -> str:
    """Return the condition that no earlier unfinished job conflicts with ``j`` in any scope. only: narrows ``e``."""
    return f"{_IN_OWN_SCOPE.format(only=only)} AND {is_first_elsewhere(only)}"


def is_first_elsewhere(only: str = "") -> str:
    """Return the same without conflicts of two jobs that both have it as their own scope."""
    return _IN_FURTHER_SCOPES.format(only=only)
