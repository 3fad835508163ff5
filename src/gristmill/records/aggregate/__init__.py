"""Aggregates: buckets of time, groups, measures, and what is done with their rows; computed and written by Postgres."""
