"""Measures what Gristmill promises about speed, on a whole stack of its own: ``python -m benchmarks [names]``.

Every scenario is a module with ``run(bench)``, which yields rows of the table. Nothing here is a test: a figure that
misses its target is printed as missed, and the exit code only says whether everything could be run.
"""

# In the order in which they run: what leaves a long history behind comes last, what needs the machine for itself, at
# the very end.
SCENARIOS = (
    "job_latency",
    "post_latency",
    "job_throughput",
    "ingest_ndjson",
    "search_latency",
    "claim_latency",
    "cold_start",
)
