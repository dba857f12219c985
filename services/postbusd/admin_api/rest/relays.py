"""/api/v1/relay-presets and the test of a domain's relay."""

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import JSONBody

from postbus.contracts.relay_test import RelayStage, RelayTestRequest
from postbus.contracts.relays import RelaySecurity
from postbus.smtp.relay_presets import RELAY_PRESETS
from postbusd.admin_api.rest.backend import ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.domains import RelayBody, relay_of
from postbusd.admin_api.rest.parameters import NamePath
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS


class RelayPresetResource(msgspec.Struct, frozen=True, kw_only=True):
    """A provider of outgoing mail."""

    name: Annotated[str, msgspec.Meta(description="For the command line.")]
    title: Annotated[str, msgspec.Meta(description="For people.")]
    host: Annotated[
        str,
        msgspec.Meta(description="`{region}` stands for one of `regions`, `{domain}` for the domain, dots as dashes."),
    ]
    port: Annotated[int, msgspec.Meta(description="Where it listens.")]
    security: Annotated[RelaySecurity, msgspec.Meta(description="How it is spoken to.")]
    login: Annotated[bool, msgspec.Meta(description="Whether it wants a username and a password.")]
    username: Annotated[str, msgspec.Meta(description="The same for all; empty: one's own.")]
    regions: Annotated[tuple[str, ...], msgspec.Meta(description="The first is the default; others may exist.")]
    spf: Annotated[str, msgspec.Meta(description="To include in the domain's SPF record; empty: nothing.")]
    steps: Annotated[tuple[str, ...], msgspec.Meta(description="To do at the provider, in order.")]


class RelayPresets(msgspec.Struct, frozen=True, kw_only=True):
    """All presets."""

    relay_presets: Annotated[tuple[RelayPresetResource, ...], msgspec.Meta(description="In no order.")]


class RelayTestBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to test."""

    relay: Annotated[
        RelayBody | None, msgspec.Meta(description="To be tried before it is saved; null: the domain's.")
    ] = None
    recipient: Annotated[
        str,
        msgspec.Meta(
            description="Gets two short messages: some providers judge the sender only then; empty: no mail is sent.",
            max_length=320,
        ),
    ] = ""


class RelayStepResource(msgspec.Struct, frozen=True, kw_only=True):
    """How one stage went."""

    stage: Annotated[RelayStage, msgspec.Meta(description="What was tried.")]
    ok: Annotated[bool, msgspec.Meta(description="Whether it went well.")]
    reply: Annotated[str, msgspec.Meta(description="What the host said, or why there is no answer.")]
    advice: Annotated[str, msgspec.Meta(description="What to do; empty: not known, or it went well.")]
    milliseconds: Annotated[int, msgspec.Meta(description="How long it took.")]


class RelayReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a test found."""

    ok: Annotated[bool, msgspec.Meta(description="Everything went well.")]
    host: Annotated[str, msgspec.Meta(description="That was tested.")]
    port: Annotated[int, msgspec.Meta(description="That was tested.")]
    sent: Annotated[int, msgspec.Meta(description="Messages that it took.")]
    steps: Annotated[tuple[RelayStepResource, ...], msgspec.Meta(description="In order, up to what failed.")]


@get("/relay-presets", summary="List presets of relays", tags=["domains"], responses=REFUSALS)
async def list_relay_presets() -> RelayPresets:
    """Providers of outgoing mail: where they listen, what to set up there."""
    return RelayPresets(
        relay_presets=tuple(msgspec.convert(each, RelayPresetResource, from_attributes=True) for each in RELAY_PRESETS)
    )


@post(
    "/domains/{name:str}/relay/test",
    summary="Test the relay of a domain",
    tags=["domains"],
    status_code=200,
    responses=BODY_REFUSALS,
)
async def test_relay(request: ApiRequest, name: NamePath, data: JSONBody[RelayTestBody]) -> RelayReport:
    """Connects, makes the connection secure, logs in and tries two senders of the domain, within 30 seconds."""
    reply = await backend_of(request).relays.test_relay(
        RelayTestRequest(
            domain=name,
            actor=actor_of(request),
            relay=relay_of(data.relay),
            recipient=data.recipient,
        )
    )
    steps = tuple(msgspec.convert(step, RelayStepResource, from_attributes=True) for step in reply.steps)
    return RelayReport(
        ok=all(step.ok for step in steps), host=reply.host, port=reply.port, sent=reply.sent, steps=steps
    )
