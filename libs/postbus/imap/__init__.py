"""IMAP4rev1 and IMAP4rev2 engine: parsing, formatting and state, sans-I/O (RFC 3501, RFC 9051)."""
