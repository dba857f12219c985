"""Adapters of indexer: the only place for its foreign types."""
