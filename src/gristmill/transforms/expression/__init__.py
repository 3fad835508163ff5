"""Expressions: what ``derive`` and ``filter`` compute of the columns of a record.

They are written in the grammar of Python's expressions, of which an allow-list is taken, checked against the columns
that there are, and run on whole columns. ``docs/semantics.md`` says what each operator and function means.

parse: text as a syntax tree that has nothing but what is allowed
tree: typed nodes, and the rows that they run on
check: a syntax tree as a typed tree
literals: constants, and what they become beside a column
values: rows one by one, texts that are joined, moments that there are
decimals: exact numbers
unify: operands of one type
arithmetic: the operators of numbers, decimals, moments and texts
compare: comparisons
logic: and, or, not, if, coalesce: what is decided is not looked at any further
functions: what can be called, a file for each kind
run: a typed tree over a table; rows that have no value are found one by one
"""
