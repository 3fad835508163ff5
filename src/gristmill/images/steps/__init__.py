"""Steps on image columns, one file for each; the same operations change the images of an export."""
