"""/api/v1/webhooks: other systems that are told of events."""

import re
from typing import Annotated

import msgspec
from litestar import Response, delete, get, post, put
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody, QueryParameter

from postbus.contracts.events import EventType
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.rest.apps import NOT_STORED
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.events import EventResource
from postbusd.admin_api.rest.parameters import After, Deletion, DryRun, Limit, NamePath, NextAfter
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS
from postbusd.admin_api.webhooks.rules import describe_answer
from postbusd.admin_api.webhooks.values import Delivery, DeliveryState, Webhook, WebhookState

_SEQUENCE = re.compile(r"[0-9]{1,18}\Z")


class WebhookBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a webhook is to be."""

    url: Annotated[
        str,
        msgspec.Meta(
            description="Where events are posted: https, to public addresses; others and plain http need the setting "
            "POSTBUS_ADMIN_API_WEBHOOK_EGRESS_ALLOW."
        ),
    ]
    types: Annotated[tuple[EventType, ...], msgspec.Meta(description="Of events; empty: all.", max_length=100)] = ()
    domain: Annotated[str, msgspec.Meta(description="Only events of this domain; empty: all.")] = ""
    active: Annotated[bool, msgspec.Meta(description="Off: events of that time are not told later.")] = True


class WebhookResource(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook and how it is doing; its secret is never shown."""

    name: Annotated[str, msgspec.Meta(description="Lower case.")]
    url: Annotated[str, msgspec.Meta(description="Where events are posted.")]
    types: Annotated[tuple[EventType, ...], msgspec.Meta(description="Of events; empty: all.")]
    domain: Annotated[str, msgspec.Meta(description="Only events of this domain; empty: all.")]
    active: Annotated[bool, msgspec.Meta(description="Whether events are told.")]
    waiting: Annotated[int, msgspec.Meta(description="Events that are still to be told.")]
    dead: Annotated[int, msgspec.Meta(description="Events that were given up: see its deliveries.")]
    failures: Annotated[int, msgspec.Meta(description="In a row until now.")]
    paused_until_ms: Annotated[int, msgspec.Meta(description="After a failure; 0: not paused. Unix milliseconds.")]
    last_outcome: Annotated[str, msgspec.Meta(description="What the receiver said last, or why it said nothing.")]
    last_ms: Annotated[int, msgspec.Meta(description="When; 0: never. Unix milliseconds.")]


class WebhookWithSecret(WebhookResource, frozen=True, kw_only=True):
    """A webhook and its new secret."""

    secret: Annotated[
        str, msgspec.Meta(description="What requests are signed with (Standard Webhooks): told now and never again.")
    ]


class WebhookList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of webhooks."""

    webhooks: Annotated[tuple[WebhookResource, ...], msgspec.Meta(description="In the order of their names.")]
    next_after: NextAfter


class WebhookTest(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver answered to a request of type ping."""

    told: Annotated[bool, msgspec.Meta(description="It said 2xx.")]
    status: Annotated[int, msgspec.Meta(description="Of HTTP; 0: there was no answer.")]
    outcome: Annotated[str, msgspec.Meta(description="What it said, or why it said nothing.")]
    milliseconds: Annotated[int, msgspec.Meta(description="How long it took.")]


class DeliveryResource(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a webhook has not told."""

    sequence: Annotated[int, msgspec.Meta(description="Its place in the event log.")]
    state: Annotated[DeliveryState, msgspec.Meta(description="waiting: is tried again. dead: was given up.")]
    attempts: Annotated[int, msgspec.Meta(description="That failed.")]
    due_ms: Annotated[int, msgspec.Meta(description="Not tried before. Unix milliseconds.")]
    outcome: Annotated[str, msgspec.Meta(description="Of the last attempt.")]
    event: Annotated[EventResource, msgspec.Meta(description="What is to be told.")]


class DeliveryList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of them."""

    deliveries: Annotated[tuple[DeliveryResource, ...], msgspec.Meta(description="In the order of the log.")]
    next_after: NextAfter


class DeliveryActionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do with events that were given up: one, or all."""

    retry: Annotated[bool, msgspec.Meta(description="true: tell it again. false: discard it.")]
    sequence: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)] | None, msgspec.Meta(description="Only this one.")
    ] = None
    all: Annotated[bool, msgspec.Meta(description="Every one: instead of a sequence, never by accident.")] = False


class DeliveryChange(msgspec.Struct, frozen=True, kw_only=True):
    """What an action did."""

    changed: Annotated[int, msgspec.Meta(description="Events.")]


@put(
    "/webhooks/{name:str}",
    summary="Create or replace a webhook",
    tags=["webhooks"],
    responses={
        **BODY_REFUSALS,
        200: ResponseSpec(data_container=WebhookResource, description="The webhook was there; its secret stays."),
        201: ResponseSpec(data_container=WebhookWithSecret, description="The webhook is new; its secret is told once."),
    },
)
async def put_webhook(
    request: ApiRequest, name: NamePath, data: JSONBody[WebhookBody]
) -> Response[WebhookResource | WebhookWithSecret]:
    """Idempotent. A new one is told what happens from now on."""
    webhook = Webhook(name=name, url=data.url, types=data.types, domain=data.domain, active=data.active)
    state, secret = await backend_of(request).webhooks.put(webhook, actor_of(request))
    if secret:
        return Response(_with_secret(state, secret), status_code=201, headers=NOT_STORED)
    return Response(_resource(state), status_code=200)


@post(
    "/webhooks/{name:str}/secret", summary="Make a new secret", tags=["webhooks"], status_code=200, responses=REFUSALS
)
async def rotate_webhook_secret(request: ApiRequest, name: NamePath) -> Response[WebhookWithSecret]:
    """For a day requests are signed with the one until now too, so that the receiver can change at its leisure."""
    state, secret = await backend_of(request).webhooks.rotate(name, actor_of(request))
    return Response(_with_secret(state, secret), status_code=200, headers=NOT_STORED)


@post("/webhooks/{name:str}/test", summary="Test a webhook", tags=["webhooks"], status_code=200, responses=REFUSALS)
async def test_webhook(request: ApiRequest, name: NamePath) -> WebhookTest:
    """Sends a signed request of type `ping` now and waits for the answer."""
    answer, milliseconds = await backend_of(request).webhooks.test(name)
    outcome = describe_answer(answer)
    return WebhookTest(told=answer.is_told, status=answer.status, outcome=outcome, milliseconds=milliseconds)


@get("/webhooks", summary="List webhooks", tags=["webhooks"], responses=REFUSALS)
async def list_webhooks(request: ApiRequest, after: After = "", limit: Limit = DEFAULT_PAGE) -> WebhookList:
    """In the order of their names."""
    found = await backend_of(request).webhooks.list(after, limit + 1)
    page = found[:limit]
    next_after = page[-1].webhook.name if len(found) > limit else ""
    return WebhookList(webhooks=tuple(map(_resource, page)), next_after=next_after)


@get("/webhooks/{name:str}", summary="Show a webhook", tags=["webhooks"], responses=REFUSALS)
async def get_webhook(request: ApiRequest, name: NamePath) -> WebhookResource:
    """And how it is doing."""
    return _resource(await backend_of(request).webhooks.get(name))


@delete("/webhooks/{name:str}", summary="Delete a webhook", tags=["webhooks"], status_code=200, responses=REFUSALS)
async def delete_webhook(request: ApiRequest, name: NamePath, dry_run: DryRun = False) -> Deletion:
    """What it has not told is told to nobody."""
    lines = await backend_of(request).webhooks.delete(name, actor_of(request), dry_run=dry_run)
    return Deletion(deleted=lines, dry_run=dry_run)


@get("/webhooks/{name:str}/deliveries", summary="List what is not told", tags=["webhooks"], responses=REFUSALS)
async def list_webhook_deliveries(
    request: ApiRequest,
    name: NamePath,
    of_state: Annotated[DeliveryState, QueryParameter(name="state", description="Which ones.")] = DeliveryState.DEAD,
    after: Annotated[str, QueryParameter(description="`next_after` of the page before.", max_length=32)] = "",
    limit: Limit = DEFAULT_PAGE,
) -> DeliveryList:
    """Events that wait for their turn, or that were given up."""
    if after and not _SEQUENCE.match(after):
        raise MailError(ErrorKind.INVALID, "after: pass next_after of a former answer")
    dead = of_state is DeliveryState.DEAD
    webhooks = backend_of(request).webhooks
    found = await webhooks.list_deliveries(name, dead=dead, after=int(after or 0), limit=limit + 1)
    next_after = str(found[limit - 1].sequence) if len(found) > limit else ""
    return DeliveryList(deliveries=tuple(map(_delivery, found[:limit])), next_after=next_after)


@post(
    "/webhooks/{name:str}/deliveries/actions",
    summary="Retry or discard",
    tags=["webhooks"],
    status_code=200,
    responses=BODY_REFUSALS,
)
async def change_webhook_deliveries(
    request: ApiRequest, name: NamePath, data: JSONBody[DeliveryActionBody]
) -> DeliveryChange:
    """Of what was given up: one event, or with `all` every one."""
    if data.all == (data.sequence is not None):
        raise MailError(
            ErrorKind.INVALID, f"all: {'goes with no sequence' if data.all else 'give sequence, or say all'}"
        )
    webhooks = backend_of(request).webhooks
    return DeliveryChange(changed=await webhooks.change_dead(name, data.sequence, actor_of(request), retry=data.retry))


def _resource(state: WebhookState) -> WebhookResource:
    return msgspec.convert(_facts(state), WebhookResource)


def _with_secret(state: WebhookState, secret: str) -> WebhookWithSecret:
    return msgspec.convert({**_facts(state), "secret": secret}, WebhookWithSecret)


def _facts(state: WebhookState) -> dict[str, object]:
    own = {name: value for name, value in msgspec.structs.asdict(state).items() if name != "webhook"}
    return {**msgspec.structs.asdict(state.webhook), **own}


def _delivery(delivery: Delivery) -> DeliveryResource:
    return msgspec.convert(delivery, DeliveryResource, from_attributes=True)
