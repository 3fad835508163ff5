"""API keys: who may call, and with which permission. Only hashes of keys are stored."""
