"""The OpenAPI document: what the routes say of themselves, completed by bodies, answers and problems of every call."""
