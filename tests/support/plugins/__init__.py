"""Plugins for tests of how plugins are loaded: good ones, and ones that cannot be."""
