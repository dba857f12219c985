"""The admin-api service; README.md is its manual page."""
