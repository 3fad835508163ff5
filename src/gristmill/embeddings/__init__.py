"""Embedders: the port, the providers, and the registry that finds them by name."""
