"""Gristmill: batches in over REST, typed, embedded, searchable rows out in Postgres."""

__version__ = "0.1.0"
