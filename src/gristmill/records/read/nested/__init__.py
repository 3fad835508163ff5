"""Nested reads: records with their children and their parents.

build: reads level by level and puts records into each other
errors: too many of them
request: what is to be nested, as clients say it
repository: SQL of one level
"""
