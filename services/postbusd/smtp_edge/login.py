"""AUTH (RFC 4954), only on submission doors and only within TLS: by password or the identity provider's token."""

import logging
from collections.abc import Awaitable

from postbus.contracts.app_passwords import Access
from postbus.contracts.events import EventType
from postbus.contracts.identity_provider import AuthenticateTokenRequest
from postbus.contracts.logins import AuthenticateReply, AuthenticateRequest
from postbus.core import bearer
from postbus.core.bearer import BearerResponse
from postbus.core.errors import MailError
from postbus.smtp import replies
from postbus.smtp.commands import Auth
from postbus.smtp.replies import CommandError, Reply
from postbus.smtp.sasl import MECHANISMS, Challenge, Credentials, SaslExchange, Step
from postbusd.smtp_edge.conversation import Conversation
from postbusd.smtp_edge.refusals import refuse_login
from postbusd.smtp_edge.values import Login

log = logging.getLogger(__name__)

MAX_NAME_CHARACTERS = 320
"""Of a user name in logs and events."""


async def answer_auth(conversation: Conversation, command: Auth) -> Reply:
    """Starts an exchange, and ends it at once when the initial response suffices."""
    refusal = _refusal(conversation, command)
    if refusal is not None:
        return refusal
    exchange = SaslExchange(command.mechanism)
    try:
        step = exchange.start(command.initial)
    except CommandError as error:
        return error.reply
    return await _take(conversation, exchange, step)


async def answer_response(conversation: Conversation, line: bytes) -> Reply:
    """Takes a line of the exchange."""
    exchange, conversation.exchange = conversation.exchange, None
    if exchange is None:
        return replies.BAD_SEQUENCE
    try:
        step = exchange.respond(line)
    except CommandError as error:
        return error.reply
    return await _take(conversation, exchange, step)


def _refusal(conversation: Conversation, command: Auth) -> Reply | None:
    if not conversation.takes_logins:
        return replies.NOT_IMPLEMENTED
    if not conversation.tls:
        return replies.AUTH_NEEDS_TLS
    if conversation.login is not None:
        return replies.AUTH_TWICE
    if command.mechanism not in list_mechanisms(conversation):
        return replies.AUTH_UNKNOWN_MECHANISM
    return None


def list_mechanisms(conversation: Conversation) -> tuple[str, ...]:
    """Those that AUTH takes now: bearer tokens where there is an identity provider."""
    return (*MECHANISMS, *(bearer.MECHANISMS if conversation.site.provider.configuration_url else ()))


async def _take(conversation: Conversation, exchange: SaslExchange, step: Step) -> Reply:
    if isinstance(step, Challenge):
        conversation.exchange = exchange
        return step.reply()
    site = conversation.site
    if isinstance(step, Credentials):
        by_password = AuthenticateRequest(
            username=step.username,
            password=step.password,
            access=Access.SMTP,
            client_address=conversation.client_address,
        )
        reply = await _authenticate(conversation, step.username, site.authenticator.authenticate(by_password))
    else:
        by_token = AuthenticateTokenRequest(
            token=step.token,
            mailbox=step.mailbox,
            access=Access.SMTP,
            client_address=conversation.client_address,
        )
        reply = await _authenticate(conversation, step.mailbox, site.tokens.authenticate_token(by_token))
    site.counters.login(reply)
    if isinstance(step, BearerResponse) and reply.is_permanent:
        conversation.exchange = exchange
        told = bearer.format_refusal(exchange.mechanism, site.provider.configuration_url)
        return exchange.fail(told, reply).reply()
    return reply


async def _authenticate(conversation: Conversation, username: str, asked: Awaitable[AuthenticateReply]) -> Reply:
    name = username[:MAX_NAME_CHARACTERS]
    events = conversation.site.events
    try:
        reply = await asked
    except MailError as error:
        refusal = refuse_login(error)
        facts = {"username": name, "client_address": conversation.client_address, "reason": str(error)}
        log.info("smtp.login.failed", extra=facts)
        if refusal.is_permanent:
            events.note(
                EventType.LOGIN_FAILED,
                "login failed",
                mailbox=name,
                client_address=conversation.client_address,
                detail=error.kind.value,
            )
        return refusal
    conversation.login = Login(mailbox_id=reply.mailbox_id, address=reply.address)
    conversation.on_login(reply)
    log.info(
        "smtp.login.succeeded",
        extra={"mailbox_id": reply.mailbox_id, "client_address": conversation.client_address},
    )
    events.note(
        EventType.LOGIN,
        "login",
        mailbox=reply.address,
        client_address=conversation.client_address,
        detail=reply.shown,
    )
    return replies.AUTH_SUCCEEDED
