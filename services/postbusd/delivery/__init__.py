"""The delivery service; README.md is its manual page."""
