"""/api/v1/policy: what holds for all mail of the installation."""

from typing import Annotated, Any

import msgspec
from litestar import Response, get, patch, put
from litestar.params import JSONBody

from postbus.contracts.condition import Condition
from postbus.contracts.policy import DmarcReject, DnsblMode, GetPolicyRequest, Policy, PutPolicyRequest
from postbusd.admin_api.rest.backend import ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.changes import (
    IfMatch,
    OnlyPlan,
    Patch,
    Plan,
    answer,
    condition_of,
    patch_object,
    tagged,
)
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS

_DEFAULT = Policy()
_PATTERNS = "Patterns of addresses, or of domains (without @); * is any text, ? any character."


class DnsblBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A list of addresses of spammers in the DNS (RFC 5782)."""

    zone: Annotated[str, msgspec.Meta(description="As zen.spamhaus.org.", min_length=1, max_length=255)]
    mode: Annotated[
        DnsblMode, msgspec.Meta(description="refuse: no mail but to postmaster; score: a hit adds to the score.")
    ] = DnsblMode.SCORE
    score: Annotated[float, msgspec.Meta(description="That a hit adds in mode score.")] = 2.0
    lookup_url: Annotated[
        str, msgspec.Meta(description="Told to who is refused; {address} in it is the client's.", max_length=255)
    ] = ""


class DnsblResource(msgspec.Struct, frozen=True, kw_only=True):
    """A list of addresses of spammers in the DNS."""

    zone: Annotated[str, msgspec.Meta(description="Its name.")]
    mode: Annotated[DnsblMode, msgspec.Meta(description="What a hit means.")]
    score: Annotated[float, msgspec.Meta(description="That a hit adds in mode score.")]
    lookup_url: Annotated[str, msgspec.Meta(description="Told to who is refused.")]


class PolicyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to hold for all mail of the installation; what is left out gets its default."""

    max_message_octets: Annotated[
        int, msgspec.Meta(description="The largest message that SMTP takes; advertised as SIZE to sessions to come.")
    ] = _DEFAULT.max_message_octets
    required_score: Annotated[float, msgspec.Meta(description="From which on a message is filed under Spam.")] = (
        _DEFAULT.required_score
    )
    dmarc_reject: Annotated[
        DmarcReject,
        msgspec.Meta(description="What becomes of mail that fails DMARC where the author's domain asks for p=reject."),
    ] = _DEFAULT.dmarc_reject
    messages_per_hour: Annotated[int, msgspec.Meta(description="That a mailbox may submit; 0: no limit.")] = (
        _DEFAULT.messages_per_hour
    )
    recipients_per_day: Annotated[int, msgspec.Meta(description="That a mailbox may submit to; 0: no limit.")] = (
        _DEFAULT.recipients_per_day
    )
    blocked_senders: Annotated[
        tuple[str, ...], msgspec.Meta(description=f"{_PATTERNS} Their mail is filed under Spam.")
    ] = ()
    welcome_senders: Annotated[
        tuple[str, ...],
        msgspec.Meta(description=f"{_PATTERNS} Their mail is not; but a DMARC policy of reject goes before."),
    ] = ()
    blocked_networks: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="As 192.0.2.0/24: on port 25 refused, but for mail to postmaster."),
    ] = ()
    archive_days: Annotated[
        int, msgspec.Meta(description="How long the mail of deleted mailboxes is kept; 0: until it is purged by hand.")
    ] = _DEFAULT.archive_days
    events_for_domain_admins: Annotated[
        bool, msgspec.Meta(description="Whether domain admins read the event log of their domains.")
    ] = _DEFAULT.events_for_domain_admins
    events_for_users: Annotated[
        bool, msgspec.Meta(description="Whether users read the event log of their mailboxes.")
    ] = _DEFAULT.events_for_users
    mail_host: Annotated[
        str,
        msgspec.Meta(
            description="The mail server's location for domains that name none; empty: the installation's own name."
        ),
    ] = _DEFAULT.mail_host
    dnsbls: Annotated[
        tuple[DnsblBody, ...], msgspec.Meta(description="Asked about every client of port 25, at most 20.")
    ] = tuple(msgspec.convert(each, DnsblBody, from_attributes=True) for each in _DEFAULT.dnsbls)
    spam_rules: Annotated[
        str,
        msgspec.Meta(
            description="Rules in SpamAssassin's language, a line each: header, body, rawbody, full, uri, mimeheader, "
            "meta, score, describe, tflags. A faulty line is named, and the rules stay as they are.",
            max_length=262_144,
        ),
    ] = _DEFAULT.spam_rules


class PolicyResource(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all mail of the installation."""

    max_message_octets: Annotated[int, msgspec.Meta(description="The largest message that SMTP takes.")]
    required_score: Annotated[float, msgspec.Meta(description="From which on a message is filed under Spam.")]
    dmarc_reject: Annotated[
        DmarcReject, msgspec.Meta(description="What becomes of mail that fails DMARC with p=reject.")
    ]
    messages_per_hour: Annotated[int, msgspec.Meta(description="That a mailbox may submit; 0: no limit.")]
    recipients_per_day: Annotated[int, msgspec.Meta(description="That a mailbox may submit to; 0: no limit.")]
    blocked_senders: Annotated[tuple[str, ...], msgspec.Meta(description="Their mail is filed under Spam.")]
    welcome_senders: Annotated[tuple[str, ...], msgspec.Meta(description="Their mail is not.")]
    blocked_networks: Annotated[tuple[str, ...], msgspec.Meta(description="Refused on port 25.")]
    archive_days: Annotated[int, msgspec.Meta(description="That the mail of deleted mailboxes is kept; 0: for ever.")]
    events_for_domain_admins: Annotated[
        bool, msgspec.Meta(description="Whether domain admins read the event log of their domains.")
    ]
    events_for_users: Annotated[bool, msgspec.Meta(description="Whether users read that of their mailboxes.")]
    mail_host: Annotated[str, msgspec.Meta(description="The mail server's location; empty: the installation's name.")]
    dnsbls: Annotated[tuple[DnsblResource, ...], msgspec.Meta(description="By zone.")]
    spam_rules: Annotated[str, msgspec.Meta(description="Rules of the administrator, a line each.")]


@get("/policy", summary="Show the policy", tags=["policy"], responses=REFUSALS)
async def get_policy(request: ApiRequest) -> Response[PolicyResource]:
    """As it is now."""
    policy = await _get(request)
    return tagged(policy, _resource(policy))


@put("/policy", summary="Replace the policy", tags=["policy"], responses=BODY_REFUSALS)
async def put_policy(
    request: ApiRequest, data: JSONBody[PolicyBody], if_match: IfMatch = "", plan: OnlyPlan = False
) -> Response[PolicyResource | Plan]:
    """Idempotent. All services follow within seconds, without a restart."""
    return await _put(request, data, condition_of(if_match, plan))


@patch("/policy", summary="Change the policy", tags=["policy"], status_code=200, responses=BODY_REFUSALS)
async def patch_policy(
    request: ApiRequest, data: JSONBody[Patch], if_match: IfMatch = "", plan: OnlyPlan = False
) -> Response[PolicyResource | Plan]:
    """A JSON merge patch (RFC 7396): what it leaves out stays, null gives a field its default."""
    return await patch_object(
        lambda: _get(request),
        _resource,
        PolicyBody,
        data,
        condition_of(if_match, plan),
        lambda body, condition: _put(request, body, condition),
    )


async def _get(request: ApiRequest) -> Policy:
    return (await backend_of(request).directory.get_policy(GetPolicyRequest(actor=actor_of(request)))).policy


async def _put(request: ApiRequest, body: PolicyBody, condition: Condition) -> Response[Any]:
    policy = msgspec.convert(body, Policy, from_attributes=True)
    before = await _get(request) if condition.plan else None
    reply = await backend_of(request).directory.put_policy(
        PutPolicyRequest(policy=policy, actor=actor_of(request), condition=condition)
    )
    return answer(condition, _resource, before, reply.policy, created=False)


def _resource(policy: Policy) -> PolicyResource:
    return msgspec.convert(policy, PolicyResource, from_attributes=True)
