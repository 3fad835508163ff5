"""Rows in their order: groups, windows, and aggregates over ranges of rows. What steps that work per batch share."""
