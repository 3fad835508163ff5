"""Quarantine: the records of a batch that do not fit, kept with their errors while the others go on."""
