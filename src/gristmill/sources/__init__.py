"""Sources: what submits records continuously. A kind reads; everything else about a source is here, once for all kinds.

port: what a kind implements, and what it is given
kinds: one file per kind
registry: the kinds that there are, and their settings as users give them
batching: reads become batches, by size or by seconds
encoding: the records of a read as the body of a request
figures: rate and lag of one source
states: the states of a source
run: reads one leased source, submits, waits, tries again
submit: batches become jobs in the transaction that moves the source's position
runner: leases sources and renews the leases
drops: a dataset is dropped, and its sources fail
metrics: what /metrics shows
"""
