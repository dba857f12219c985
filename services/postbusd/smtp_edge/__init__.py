"""The smtp-edge service; README.md is its manual page."""
