"""SMTP engine: commands, replies, state table, DATA scanner, sans-I/O (RFC 5321).

`engine.ServerEngine` takes octets and gives events; the session gives replies and gets octets. Nothing here logs,
sleeps, resolves or knows what a mailbox is. What the peer does wrong becomes a `BadCommand` event with the reply to
give, or a refusal at the end of DATA; nothing but `RemoteProtocolError` leaves the parsers.
"""
