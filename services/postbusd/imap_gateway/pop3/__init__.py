"""POP3 (RFC 1939, RFC 2449): the INBOX of one mailbox for one session; nothing changes before QUIT."""
