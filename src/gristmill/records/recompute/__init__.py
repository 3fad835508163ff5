"""Recomputing: computed fields of records that are there are made anew, after the pipeline was changed."""
