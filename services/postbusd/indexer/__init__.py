"""The indexer service; README.md is its manual page."""
