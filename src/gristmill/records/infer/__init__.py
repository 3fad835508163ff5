"""Inference: a contract proposed for a sample of a file, with the evidence for each field; nothing is stored."""
