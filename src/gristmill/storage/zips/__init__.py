"""Folders of stored files as ZIP archives that are never written: their bytes are worked out when they are read.

A list of the files says name, size and checksum of each; so the length of the archive, and what is at any place of it,
is known before anything is read. It can be asked for in parts like a file, and a million entries cost no memory.
"""
