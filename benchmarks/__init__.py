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
    "own_jobs",
    "sources",
    "schedules",
    "waited_upserts",
    "changes",
    "registry",
    "ingest_ndjson",
    "first_load",
    "ingest_csv",
    "ingest_parquet",
    "frames",
    "image_metadata",
    "image_duplicates",
    "stored_exports",
    "image_export",
    "json_members",
    "nested_reads",
    "aggregates",
    "expressions",
    "steps",
    "batch_steps",
    "image_embedders",
    "image_steps",
    "search_60k",
    "search_latency",
    "search_topics",
    "load_2m",
    "search_recall",
    "upload_2gb",
    "claim_latency",
    "recovery",
    "cold_start",
    "source_size",
)
# What is measured beside an older version unless scenarios are named; some 25 minutes.
COMPARED = (
    "job_throughput",
    "waited_upserts",
    "changes",
    "post_latency",
    "ingest_ndjson",
    "ingest_parquet",
    "search_60k",
    "source_size",
)
# What runs only when it is named, or with ``all``: it takes half an hour and 30 GB of disk.
LARGE = ("load_2m", "search_recall", "upload_2gb")
