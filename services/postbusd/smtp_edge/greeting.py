"""Banner, EHLO and HELO (RFC 5321 §4.1.1.1)."""

from postbus.core.errors import MailError
from postbus.smtp.commands import Hello
from postbus.smtp.replies import Reply, make_reply
from postbusd.smtp_edge.conversation import Conversation, ListenerKind
from postbusd.smtp_edge.login import list_mechanisms


def banner(conversation: Conversation) -> Reply:
    """220: our name, no version."""
    return make_reply(220, "", f"{conversation.site.mail_host} ESMTP Postbus")


async def answer_hello(conversation: Conversation, command: Hello) -> Reply:
    """Forgets an open transaction; EHLO tells what can be had here and now."""
    conversation.end_transaction()
    conversation.hello = command
    host = conversation.site.mail_host
    if not command.extended:
        return make_reply(250, "", host)
    return make_reply(250, "", f"{host} at your service", *await extensions(conversation))


async def extensions(conversation: Conversation) -> list[str]:
    """EHLO keywords: PIPELINING (RFC 2920), SIZE (1870), DSN (3461), ENHANCEDSTATUSCODES (2034), 8BITMIME (6152),

    SMTPUTF8 (6531), STARTTLS (3207), AUTH (4954). CHUNKING is not offered.
    """
    keywords = [
        "PIPELINING",
        f"SIZE {conversation.policy.max_message_octets}",
        "8BITMIME",
        "SMTPUTF8",
        "DSN",
        "ENHANCEDSTATUSCODES",
    ]
    if await offers_tls(conversation):
        keywords.append("STARTTLS")
    if conversation.takes_logins and conversation.tls and conversation.login is None:
        keywords.append(f"AUTH {' '.join(list_mechanisms(conversation))}")
    return keywords


async def offers_tls(conversation: Conversation) -> bool:
    """Whether STARTTLS makes sense now."""
    if conversation.tls or conversation.kind is ListenerKind.SUBMISSIONS:
        return False
    try:
        await conversation.site.tls.check()
    except MailError:
        return False
    return True
