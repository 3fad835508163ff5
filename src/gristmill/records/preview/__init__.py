"""Previews of pipelines: the rows after each step, for a sample that is given or stored; nothing is written."""
