"""SQL of parents: which datasets have them, and what their limits are compared with."""
