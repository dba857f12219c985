"""IMAP: a sans-I/O engine for the server side, its commands as values and the octets of its responses (RFC 3501, 9051).

`Engine` (engine.py) turns octets into commands; `framer.py` finds where a command ends, `commands/` parses one family a
file, `transitions.py` says which command is legal when. The rest formats what a server says. Nothing here does I/O.
"""
