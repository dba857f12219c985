"""The directory service; README.md is its manual page."""
