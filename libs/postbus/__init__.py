"""Postbus's libraries: everything that is not a service."""

__version__ = "0.1.0"
