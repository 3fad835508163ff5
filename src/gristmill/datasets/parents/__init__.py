"""Parents: records of a dataset that belong to records of another one, and the limits that they keep together.

above: the contracts above a dataset, attached for filters on fields of parents
checks: the rules of what a contract says of parents
closure: which datasets are above and below one
declare: what changes of datasets have to mind where there are others above or below
errors: what is wrong with records that have parents, or children
judge: whether parents are there and limits hold
relations: a contract's parents and children with the contracts that their tables have
repository: SQL of these
spec: parents as users write them
"""
