"""Jobs: the protocol by which an accepted write is carried out exactly once and in order, whichever process dies."""
