"""Postbus's daemons, one folder each, and the command line in `cli`."""
