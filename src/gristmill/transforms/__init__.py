"""Transforms: the steps of a pipeline, their schema rules, and running them over the records of a batch."""
