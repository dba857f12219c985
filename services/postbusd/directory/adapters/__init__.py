"""Adapters of directory: the only place for its foreign types."""
