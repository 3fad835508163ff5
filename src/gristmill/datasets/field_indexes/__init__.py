"""Indexes that a change of the contract asks for, built while the table is read and written."""
