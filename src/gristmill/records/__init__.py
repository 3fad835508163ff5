"""Records: from the body of a request to rows. Rooms in the order of the way, then what several of them need.

columns: validated rows as Arrow columns, and columns as the parameters of an INSERT
validation: whether records fit the contract, row by row or a column at a time
readers: a body of one of the formats as a stream of validated records
rejects: the records that do not fit, kept with their errors
parents: records beside their parents and children
changes: PATCH and DELETE
apply: a worker writes a chunk: its steps (transform, embed), COPY or INSERT, upsert, merge
ingest: POST: a body becomes the chunks of one job
read: one record, several by keys, pages, the newest, counts, distinct values
aggregate: buckets, groups, measures and windows over them
views: pipelines over the newest batch or a window
recompute: computed fields of records that are there, made anew
infer: a contract proposed for a sample of a file
preview: what the steps of a pipeline make of a sample
export: all of them as a file, streamed or stored
retention: deletion by age

arrow_rows: stored rows as Arrow tables
bodies: bodies of JSON that a model describes
batch: the records of a chunk between two steps of a worker
content_encoding: gzip and zstd of bodies
embedding: vectors for the records of a chunk
etags: the version of one record, for conditional requests
form_file: the file that a form uploads
jobs: what the jobs of all writes have in common
key_list: many keys in one statement
payload: a chunk's records on their way to the worker, as Arrow IPC
reject: the record that a reader gives away where the others go on
row_bytes: how large rows are, as SQL
spool: bodies and chunks on disk
submit: a write is submitted if the contract is still the same
targets: the dataset that a chunk writes to
transform: the step that runs the pipeline of a contract
"""
