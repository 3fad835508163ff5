"""gristmill demo: real data through the real queue, each step with the curl line that does the same."""
