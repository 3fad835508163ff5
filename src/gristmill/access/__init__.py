"""API keys: who may call, and with which permission; only hashes of keys are stored. The role that reads by SQL."""
