"""SMTP engine: commands, replies, state table, DATA scanner, sans-I/O (RFC 5321)."""
