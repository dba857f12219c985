"""What we announce: only what wholly works (RFC 9051 §6.1.1)."""

BASE = (b"IMAP4rev1", b"SASL-IR", b"LITERAL+", b"ID", b"ENABLE")
AFTER_LOGIN = (
    b"IDLE",
    b"NAMESPACE",
    b"CHILDREN",
    b"LIST-EXTENDED",
    b"LIST-STATUS",
    b"SPECIAL-USE",
    b"UNSELECT",
    b"UIDPLUS",
    b"MOVE",
    b"ESEARCH",
    b"STATUS=SIZE",
    b"CONDSTORE",
    b"WITHIN",
    b"PREVIEW",
)
ENABLED_BY_NAME = (b"CONDSTORE",)
"""What ENABLE switches on; whatever else is asked for stays off (RFC 5161 §3.1)."""
MECHANISMS = (b"AUTH=PLAIN", b"AUTH=LOGIN")


BEARER_MECHANISMS = (b"AUTH=OAUTHBEARER", b"AUTH=XOAUTH2")
"""Where there is an identity provider."""


def list_capabilities(
    *, logged_in: bool, secure: bool, tls_offered: bool, tokens: bool, append_limit: int
) -> list[bytes]:
    """Passwords are welcome on TLS only: before it STARTTLS and LOGINDISABLED (RFC 9051 §6.2.1, §6.2.3)."""
    names = list(BASE)
    if logged_in:
        names.extend((*AFTER_LOGIN, b"APPENDLIMIT=%d" % append_limit))
    elif secure:
        names.extend(MECHANISMS)
        names.extend(BEARER_MECHANISMS if tokens else ())
    else:
        names.extend((b"STARTTLS", b"LOGINDISABLED") if tls_offered else (b"LOGINDISABLED",))
    return names
