"""Adapters of admin-api: the only place for its foreign types."""
