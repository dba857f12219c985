"""Adapters of smtp-edge: the only place for its foreign types."""
