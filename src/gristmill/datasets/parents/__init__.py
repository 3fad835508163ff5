"""Parents: records of a dataset that belong to records of another one, and the limits that they keep together.

changed: what has to be looked at after fields of records were changed
checks: the rules of what a contract says of parents
closure: which datasets are above and below one
declare: what changes of datasets have to mind where there are others above or below
early: trying a write out when it is submitted
errors: what is wrong with records that have parents, or children
judge: whether parents are there and limits hold
relations: a contract's parents and children with the contracts that their tables have
removal: records that go with their parents, and parents that stay for their children
renaming: children whose parent gets another key
repository: SQL of these
spec: parents as users write them
"""
