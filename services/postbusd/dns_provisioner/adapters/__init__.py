"""Adapters of dns-provisioner: the only place for its foreign types."""
