"""Job types that are functions with a typed argument: what a plugin declares, and how it is submitted and carried out.

declaration: what is said of a type, checked when its module is imported
arguments: the arguments as JSON, checked against the function's model at submit and again by the worker
results: what a function may return, and how it is stored
run: what a function is given of its job
transactions: a function's transaction, which it may not end
functions: the two handlers that call functions
catalogue: the types that may be submitted, and the plugins that they come from
submission: a request for a job becomes one
endpoints: REST
"""
