"""Exports of images: the images of selected records, changed by operations, as files in the storage.

A chunk makes the files of its records and notes that they are there as its part; whoever finds that all parts are there
joins what they say of the records; whichever chunk ends last gives the export to its readers. See decision 58.
"""
