"""POP3 (RFC 1939) without input or output: command lines, replies, messages as they travel."""
