"""The imap-gateway service; README.md is its manual page."""
