"""Measures what Gristmill promises about speed, on a whole stack of its own: ``python -m benchmarks [names]``.

Every scenario is a module with ``run(bench)``, which yields rows of the table. Nothing here is a test: a figure that
misses its target is printed as missed, and the exit code only says whether everything could be run.
"""

# In the order in which they run: what leaves a long history behind comes late, what needs the machine for itself, at
# the very end.
SCENARIOS = (
    "job_latency",
    "post_latency",
    "job_throughput",
    "ingest_ndjson",
    "ingest_csv",
    "ingest_parquet",
    "search_60k",
    "search_latency",
    "load_2m",
    "search_1m",
    "upload_2gb",
    "claim_latency",
    "recovery",
    "cold_start",
)
# What runs only when it is named, or with ``all``: it takes half an hour and 30 GB of disk.
LARGE = ("load_2m", "search_1m", "upload_2gb")
