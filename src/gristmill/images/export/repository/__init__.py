"""SQL of image exports: the selection, the records of a chunk, and the parts that are made."""
