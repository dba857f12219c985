"""Members-only lists and what delivery's Precheck says of them, at RCPT and at end of DATA (promise 3)."""

import msgspec
import pytest

from postbus.contracts.delivery import PrecheckReply, PrecheckResult
from postbus.contracts.directory import MailboxTarget, Outcome, Resolution, Via
from postbus.contracts.filter import CheckMessageReply, RecipientVerdict, Verdict
from postbus.testing.smtp_edge import ALICE, AWAY, BOB, Edge, Peer, enter, submit
from postbusd.smtp_edge.conversation import ListenerKind

WIRE = b"From: ann@remote.example\r\nSubject: x\r\n\r\nx\r\n.\r\n"
TEAM = "team@demo.example"
ONLY = "only members may post to this list"


def says(path: str, verdict: Verdict, reason: str = "") -> PrecheckReply:
    return PrecheckReply(results=(PrecheckResult(forward_path=path, verdict=verdict, reason=reason),))


@pytest.fixture(autouse=True)
def mailing_list(edge: Edge) -> Resolution:
    resolution = Resolution(
        forward_path=TEAM,
        outcome=Outcome.LIST,
        via=Via.LIST,
        targets=(MailboxTarget(mailbox_id=ALICE, address="alice@demo.example"),),
        remotes=("ann@remote.example",),
        bounce_path="team-bounces@demo.example",
        members_only=True,
    )
    edge.directory.answers[TEAM] = resolution
    return resolution


async def begin(peer: Peer, *forward_paths: str) -> str:
    await peer.listen()
    await peer.say("EHLO client.example")
    await peer.say("MAIL FROM:<ann@remote.example> SIZE=100")
    answer = ""
    for path in forward_paths:
        answer = await peer.say(f"RCPT TO:<{path}>")
    return answer


async def finish(peer: Peer) -> str:
    await peer.say("DATA")
    return await peer.say(WIRE)


async def test_a_member_posts(edge: Edge, mailing_list: Resolution) -> None:
    edge.filter.message = CheckMessageReply(
        verdict=Verdict.ACCEPT, score=0, required=5, spf="pass", dmarc="pass", author_domain="remote.example"
    )
    edge.prechecker.reply = says(TEAM, Verdict.ACCEPT)
    async with edge.connect() as peer:
        await begin(peer, TEAM)
        assert (await finish(peer)).startswith("250 2.0.0")
    at_rcpt, at_end = edge.prechecker.requests
    assert (at_rcpt.envelope_only, at_rcpt.header, at_rcpt.size_octets) == (True, b"", 100)
    assert at_rcpt.recipients[0].forward_path == TEAM
    assert at_rcpt.reverse_path == "ann@remote.example"
    assert (at_end.envelope_only, at_end.spf, at_end.dmarc) == (False, "pass", "pass")
    assert at_end.header.startswith(b"From: ann@remote.example\r\n")
    assert edge.bus.mail[0].envelope.forward_paths[0].resolution == mailing_list


async def test_an_open_list_is_not_asked_about(edge: Edge, mailing_list: Resolution) -> None:
    edge.directory.answers[TEAM] = msgspec.structs.replace(mailing_list, members_only=False)
    async with edge.connect() as peer:
        await begin(peer, TEAM)
        assert (await finish(peer)).startswith("250 2.0.0")
    assert not edge.prechecker.requests


async def test_who_cannot_be_a_member_is_refused_at_rcpt_alone(edge: Edge) -> None:
    edge.prechecker.envelope_reply = says(TEAM, Verdict.REJECT, ONLY)
    async with edge.connect() as peer:
        assert await begin(peer, TEAM) == f"550 5.7.1 {ONLY}"
        assert (await peer.say("RCPT TO:<bob@demo.example>")).startswith("250")
        assert (await finish(peer)).startswith("250 2.0.0")
    assert [path.address for path in edge.bus.mail[0].envelope.forward_paths] == ["bob@demo.example"]
    assert len(edge.prechecker.requests) == 1


async def test_who_is_refused_counts_for_no_rate(edge: Edge) -> None:
    edge.prechecker.envelope_reply = says(TEAM, Verdict.REJECT, ONLY)
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        assert await submit(peer, "alice@demo.example", TEAM, WIRE) == f"550 5.7.1 {ONLY}"
    assert edge.prechecker.requests[0].authenticated_as == "alice@demo.example"
    assert [key for key, _ in edge.bus.counts] == [f"submission.messages.{ALICE}"]


async def test_an_unproven_member_is_refused_at_the_end(edge: Edge) -> None:
    edge.prechecker.reply = says(TEAM, Verdict.REJECT, ONLY)
    async with edge.connect() as peer:
        await begin(peer, TEAM)
        assert await finish(peer) == f"550 5.7.1 {ONLY}"
    assert not edge.bus.mail


async def test_with_other_recipients_the_list_is_named(edge: Edge) -> None:
    edge.prechecker.reply = says(TEAM, Verdict.REJECT, ONLY)
    async with edge.connect() as peer:
        await begin(peer, "bob@demo.example", TEAM)
        assert await finish(peer) == f"550 5.7.1 {TEAM}: {ONLY}; send to the others separately"
    assert not edge.bus.mail


async def test_filters_refusals_and_the_lists_add_up(edge: Edge) -> None:
    edge.filter.message = CheckMessageReply(
        verdict=Verdict.ACCEPT,
        score=9,
        required=5,
        recipients=(RecipientVerdict(forward_path="bob@demo.example", verdict=Verdict.REJECT, score=9),),
    )
    edge.prechecker.reply = says(TEAM, Verdict.REJECT, ONLY)
    async with edge.connect() as peer:
        await begin(peer, "bob@demo.example", TEAM)
        assert await finish(peer) == f"550 5.7.1 {ONLY}"


async def test_what_cannot_be_proven_now_is_a_delay(edge: Edge) -> None:
    edge.prechecker.reply = says(TEAM, Verdict.DEFER, "the author can't be verified now")
    async with edge.connect() as peer:
        await begin(peer, "bob@demo.example", TEAM)
        assert await finish(peer) == "451 4.7.1 the author can't be verified now"


async def test_without_filter_nothing_is_known(edge: Edge) -> None:
    edge.change(accept_unfiltered=True)
    edge.filter.fail_with = AWAY
    async with edge.connect() as peer:
        await begin(peer, TEAM)
        await finish(peer)
    assert (edge.prechecker.requests[-1].spf, edge.prechecker.requests[-1].dmarc) == ("temperror", "temperror")


async def test_an_absent_delivery_is_a_delay(edge: Edge) -> None:
    async with edge.connect() as peer:
        edge.prechecker.fail_with = AWAY
        assert (await begin(peer, TEAM)).startswith("451 4.3.0")
        edge.prechecker.fail_with = None
        await peer.say(f"RCPT TO:<{TEAM}>")
        edge.prechecker.fail_with = AWAY
        assert (await finish(peer)).startswith("451 4.3.0")
    assert not edge.bus.mail


async def test_a_full_list_is_refused_unless_others_receive(edge: Edge, mailing_list: Resolution) -> None:
    full = tuple(MailboxTarget(mailbox_id=each, address="x@demo.example", over_quota=True) for each in (ALICE, BOB))
    edge.directory.answers[TEAM] = msgspec.structs.replace(mailing_list, targets=full, remotes=())
    async with edge.connect() as peer:
        assert (await begin(peer, TEAM)).startswith("552 5.2.2")
        edge.directory.answers[TEAM] = msgspec.structs.replace(mailing_list, targets=full)
        assert (await peer.say(f"RCPT TO:<{TEAM}>")).startswith("250 2.1.5")


async def test_large_lists_travel_in_transactions_of_their_own(edge: Edge, mailing_list: Resolution) -> None:
    remotes = tuple(f"a{number}@remote.example" for number in range(6000))
    for path in ("one@demo.example", "two@demo.example"):
        edge.directory.answers[path] = msgspec.structs.replace(
            mailing_list, forward_path=path, remotes=remotes, members_only=False
        )
    async with edge.connect() as peer:
        assert (await begin(peer, "bob@demo.example", "one@demo.example")).startswith("250 2.1.5")
        assert (await peer.say("RCPT TO:<two@demo.example>")).startswith("452 4.5.3")
        assert (await peer.say("RCPT TO:<alice@demo.example>")).startswith("250 2.1.5")
        assert (await finish(peer)).startswith("250 2.0.0")
