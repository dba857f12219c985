"""What each command does, one family a file; `postbusd.imap_gateway.dispatch` has the table."""
