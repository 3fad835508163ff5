"""SQL of the advisory locks of a submission: those of scopes and of idempotency keys. They end with the transaction."""

from gristmill.core.prepared import Prepared

# Keys and scopes of all jobs. Their locks are only tried: whoever holds one, or waits for it, must not hold up
# everybody else in the batch. The jobs that miss one are named to the next statement, whose snapshot is taken when the
# locks are held.
TRY_LOCKS = Prepared(
    """
SELECT set_config('gristmill.missed_keys',
        coalesce(array_agg(place) FILTER (WHERE NOT got AND key IS NOT NULL), '{}')::text, true),
    set_config('gristmill.missed_scopes',
        coalesce(array_agg(place) FILTER (WHERE NOT got AND key IS NULL), '{}')::text, true)
FROM (
    SELECT l.place, l.key, CASE
        WHEN l.key IS NOT NULL THEN pg_try_advisory_xact_lock(hashtext(l.principal), hashtext(l.key))
        WHEN l.exclusive THEN pg_try_advisory_xact_lock(hashtextextended(l.scope, 0))
        ELSE pg_try_advisory_xact_lock_shared(hashtextextended(l.scope, 0)) END AS got
    FROM jsonb_to_recordset(%(locks)s) AS l (place int, principal text, key text, scope text, exclusive boolean)
) AS tried
""",
    locks="jsonb",
)
# Scopes in the order of their hashes: two jobs over the same scopes cannot wait for each other.
WAIT_FOR_SCOPES = Prepared(
    """
SELECT CASE WHEN exclusive THEN pg_advisory_xact_lock(hash) ELSE pg_advisory_xact_lock_shared(hash) END
FROM (
    SELECT hashtextextended(l.scope, 0) AS hash, bool_or(l.exclusive) AS exclusive
    FROM jsonb_to_recordset(%(locks)s) AS l (scope text, exclusive boolean)
    WHERE l.scope IS NOT NULL GROUP BY 1 ORDER BY 1
) AS ordered
""",
    locks="jsonb",
)
# The scopes of a job that is there.
WAIT_FOR_SCOPES_OF = """
SELECT CASE WHEN exclusive THEN pg_advisory_xact_lock(hash) ELSE pg_advisory_xact_lock_shared(hash) END
FROM (
    SELECT hashtextextended(scope, 0) AS hash, bool_or(exclusive) AS exclusive
    FROM gristmill.scopes WHERE job_id = %(id)s GROUP BY 1 ORDER BY 1
) AS ordered
"""
WAIT_FOR_KEY = "SELECT pg_advisory_xact_lock(hashtext(%(principal)s), hashtext(%(key)s))"
