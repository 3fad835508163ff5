"""API keys: who may call, and with which scope. Only hashes of keys are stored."""
