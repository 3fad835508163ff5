"""The OpenAPI document as other programs use it: they run in an environment of their own, .venv-openapi."""
