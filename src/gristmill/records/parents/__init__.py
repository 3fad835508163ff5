"""Records beside their parents and children: what a write is checked against, at submission and in the worker.

bounds: records that are parents, beside what their children use
early: what the job would refuse, refused before it is queued
keys: the keys of parents and children in a payload
quarantine: which records of a batch fit, one after the other
written: the check in the worker, after records were written
"""
