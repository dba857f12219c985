"""Adapters of imap-gateway: the only place for its foreign types."""
