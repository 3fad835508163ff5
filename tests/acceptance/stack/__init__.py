"""Whole stacks on this machine. Tests take them over from each other: the fixtures end with the last test in here."""
