"""DMARC evaluation (RFC 9989; RFC 7489 records accepted): pure; DNS answers are its arguments."""
