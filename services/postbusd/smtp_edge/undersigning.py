"""The signature of the author's domain under what its people submit.

It is put in before anything looks at the message: filter, the blob, DKIM and every recipient have the same octets.
Where directory can't tell the signature the message waits at its client (451): none leaves without.
"""

import asyncio
from pathlib import Path
from typing import Final

from postbus.contracts.domains import Signature
from postbus.core.errors import MailError
from postbus.mime.appending import append_signature, apply_edits
from postbus.mime.authors import parse_authors
from postbus.mime.headers import all_fields
from postbus.mime.sections import Content
from postbus.mime.values import Scan
from postbusd.smtp_edge.building import Examined
from postbusd.smtp_edge.conversation import Conversation, Transaction
from postbusd.smtp_edge.spool import Spool

MAX_ON_LOOP_OCTETS: Final = 64 * 1024
"""A larger message is changed in a thread."""


async def sign(conversation: Conversation, transaction: Transaction, spool: Spool, examined: Examined) -> Spool:
    """The message with the signature of its author's domain, spooled anew; as it came where there is none to add.

    Raises MailError: UNAVAILABLE (directory), LIMIT (the disk).
    """
    site, login = conversation.site, conversation.login
    if login is None:
        return spool
    signature = await site.signatures.find(_author_domain(examined, login.address))
    if signature is None:
        return spool
    signed = Spool(Path(site.spool_dir) / f"{transaction.queue_id}-signed", site.settings.memory_octets, site.memory)
    try:
        if spool.path is None:
            changed = await _rewrite(spool.content(), signed, examined.scan, signature)
        else:
            with spool.mapped() as content:
                changed = await _rewrite(content, signed, examined.scan, signature)
        await signed.finish()
    except BaseException:
        signed.discard()
        raise
    if not changed:
        signed.discard()
        return spool
    transaction.spool = signed
    spool.discard()
    return signed


def _author_domain(examined: Examined, login: str) -> str:
    """Of the first author; a message without one gets the login's address."""
    fields = all_fields(examined.scan, examined.header, "from")
    try:
        return parse_authors(fields)[0].domain if fields else login.rpartition("@")[2]
    except (MailError, IndexError):
        return login.rpartition("@")[2]


async def _rewrite(content: Content, signed: Spool, scan: Scan, signature: Signature) -> bool:
    """Writes the signed message; whether there is one."""
    arguments = (content, scan, signature.text, signature.html)
    if len(content) > MAX_ON_LOOP_OCTETS:
        edits = await asyncio.to_thread(append_signature, *arguments)
    else:
        edits = append_signature(*arguments)
    if edits:
        for piece in apply_edits(content, edits):
            await signed.write(piece)
    return bool(edits)
