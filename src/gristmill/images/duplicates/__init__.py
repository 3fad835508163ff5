"""Near-duplicates: groups of records whose vectors are near each other, as a dataset of its own."""
