"""Adapters of filter: the only place for its foreign types."""
