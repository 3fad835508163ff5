"""Files beside Postgres: one port, a local folder and S3-compatible buckets behind it."""
