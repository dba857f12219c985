"""Adapters of delivery: the only place for its foreign types."""
