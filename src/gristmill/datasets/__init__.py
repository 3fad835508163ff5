"""Datasets: named, typed tables with contracts in versions.

alter: which changes of a contract there are
annotation_checks: the rules of titles, descriptions, units, and of ``enum`` and ``default``
applied: the contract that a table has now, for reads
contract: the contract as values
contract_checks: the rules of contracts
contract_parser: the contract that a user wrote, read with all its rules at once
creation: a new dataset becomes visible
ddl: the table of a dataset, made, changed and dropped
describe: sentences about values, for people
differences: in what two contracts differ
embedders: the embedders that contracts name
embedding: how records are searched, as values of a contract
embedding_checks: the rules of embeddings
extensions: what other domains add to datasets: hooks, state, metrics, maintenance
field_indexes: the indexes that a change of the contract asks for
index_session: the connection of one index build
input_checks: the rules of what clients send
json_members: members of json fields: their paths, their types, their SQL
keys: the key of a record, in a URL or a body
lookup: a dataset by its name or id, for other domains
fit: statistics of stored values for the steps of a pipeline
operations: truncate, rename, copy
parents: records that belong to those of another dataset, and the limits that they keep together
pipeline: the pipeline of a contract, bound to the columns that clients send
primary_key: the primary keys of tables that were made without one
repairs: jobs for tables that lack something
retention_period: the texts that ``keep`` takes
step_types: types as the steps of pipelines know them
sizes: rows and bytes of tables
statistics: ANALYZE after loads
step_bodies: steps as users write them
submit: the job of a change, submitted as the change becomes visible
types: how each type is validated, carried, stored and shown
version_checks: whether the contract is still the one that a write was validated against
views: the views of a contract, bound to its fields
where: filters, typed by the contract, as SQL
where_columns: the same filters over Arrow columns
where_members: comparisons of members of json fields
where_operands: what a filter compares: a field, or a member of one
where_parents: comparisons with fields of parents, as semi-joins
where_text: comparisons of texts by what they contain
"""
