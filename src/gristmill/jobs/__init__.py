"""Jobs: the protocol by which an accepted write is carried out exactly once, in order, whatever dies on the way."""
