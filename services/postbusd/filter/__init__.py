"""The filter service; README.md is its manual page."""
