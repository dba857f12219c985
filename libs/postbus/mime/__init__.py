"""MIME: one pass over a message gives its structure with octet offsets, its header fields and IMAP envelope (pure)."""
