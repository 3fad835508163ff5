"""Exports as files in the storage: a job makes the file, which is then read, in parts or whole, until it expires."""
