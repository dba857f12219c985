"""Webhooks: other systems are told of events by HTTPS, at least once each, signed (Standard Webhooks 1.0)."""
