"""SQL of sources: what users ask for, and what runners do under a lease."""
