"""Members-only lists: who may post (promise 3)."""

import pytest

from postbus.contracts.delivery import PrecheckRequest, PrecheckResult
from postbus.contracts.directory import MailboxTarget, Outcome, Resolution, ResolveReply, ResolveRequest, Via
from postbus.contracts.filter import Recipient, Verdict
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId, QueueId
from postbusd.delivery.precheck import MEMBERS_ONLY, PrecheckService

ALICE = MailboxId("0190a0a0-0000-7000-8000-00000000000a")
BOB = MailboxId("0190a0a0-0000-7000-8000-00000000000b")
TEAM = "team@demo.example"
ANN = "ann@remote.example"


def leads_to(address: str, mailbox_id: MailboxId, via: Via = Via.MAILBOX) -> Resolution:
    target = MailboxTarget(mailbox_id=mailbox_id, address=address)
    return Resolution(forward_path=address, outcome=Outcome.MAILBOX, targets=(target,), via=via)


class FakeDirectory:
    """alice@ and Ann at another host are members of the list team@; bob@ is not."""

    def __init__(self) -> None:
        members = (MailboxTarget(mailbox_id=ALICE, address="alice@demo.example"),)
        self.answers = {
            "alice@demo.example": leads_to("alice@demo.example", ALICE),
            "bob@demo.example": leads_to("bob@demo.example", BOB),
            TEAM: Resolution(
                forward_path=TEAM,
                outcome=Outcome.LIST,
                via=Via.LIST,
                targets=members,
                remotes=(ANN,),
                bounce_path="team-bounces@demo.example",
                members_only=True,
            ),
        }
        self.stale: dict[str, Resolution] = {}
        self.requests: list[ResolveRequest] = []

    async def resolve(self, request: ResolveRequest) -> ResolveReply:
        self.requests.append(request)
        known = self.answers if request.bypass_cache else self.answers | self.stale
        found = (
            known.get(path, Resolution(forward_path=path, outcome=Outcome.REMOTE)) for path in request.forward_paths
        )
        return ResolveReply(resolutions=tuple(found), revision=1)


@pytest.fixture
def directory() -> FakeDirectory:
    return FakeDirectory()


def post(reverse_path: str = ANN, author: str = ANN, *paths: str, **fields: object) -> PrecheckRequest:
    return PrecheckRequest(
        queue_id=QueueId("q"),
        reverse_path=reverse_path,
        recipients=tuple(Recipient(forward_path=path) for path in paths or (TEAM,)),
        header=f"From: {author}\r\nSubject: x\r\n\r\n".encode() if author else b"Subject: x\r\n\r\n",
        size_octets=100,
        **fields,  # type: ignore[arg-type]  # of the contract
    )


async def ask(directory: FakeDirectory, request: PrecheckRequest) -> PrecheckResult:
    (result,) = (await PrecheckService(directory).precheck(request)).results
    assert result.forward_path == request.recipients[0].forward_path
    return result


@pytest.mark.parametrize(
    "request_",
    [
        post(dmarc="pass"),
        post(spf="pass"),
        post("Ann@remote.example", "Ann Other <ANN@Remote.Example>", dmarc="pass"),
        post("alice@demo.example", "alice@demo.example", spf="pass"),
        post(ANN, f"{ANN}, alice@demo.example", dmarc="pass"),
        post("", "alice@demo.example", authenticated_as="alice@demo.example"),
        post("alias@off.example", ANN, authenticated_as="bob@demo.example"),
        post(envelope_only=True),
        post("", "", envelope_only=True, authenticated_as="alice@demo.example"),
        post(ANN, "", envelope_only=True, authenticated_as="bob@demo.example"),
    ],
)
async def test_members_may_post(directory: FakeDirectory, request_: PrecheckRequest) -> None:
    assert (await ask(directory, request_)).verdict is Verdict.ACCEPT


@pytest.mark.parametrize(
    "request_",
    [
        post("eve@evil.example", "eve@evil.example", spf="pass", dmarc="pass"),
        post("eve@evil.example", ANN, spf="pass"),
        post(ANN, "eve@evil.example", spf="pass", dmarc="pass"),
        post(ANN, f"{ANN}, eve@evil.example", spf="pass", dmarc="pass"),
        post("", ANN, dmarc="pass", spf="pass"),
        post(ANN, "", dmarc="pass", spf="pass"),
        post(ANN, "nonsense", dmarc="pass", spf="pass"),
        post("bob@demo.example", "bob@demo.example", authenticated_as="bob@demo.example"),
        post("", "bob@demo.example", authenticated_as="bob@demo.example"),
        post("", "", envelope_only=True),
        post("eve@evil.example", "", envelope_only=True),
        post("", "", envelope_only=True, authenticated_as="bob@demo.example"),
    ],
)
async def test_others_may_not(directory: FakeDirectory, request_: PrecheckRequest) -> None:
    result = await ask(directory, request_)
    assert (result.verdict, result.reason) == (Verdict.REJECT, MEMBERS_ONLY)


@pytest.mark.parametrize("results", [{}, {"spf": "softfail"}, {"spf": "none", "dmarc": "fail"}])
async def test_a_forged_member_does_not_pass(directory: FakeDirectory, results: dict[str, str]) -> None:
    result = await ask(directory, post(**results))
    assert result.verdict is Verdict.REJECT
    assert result.reason.startswith(MEMBERS_ONLY)
    assert "proves" in result.reason


async def test_spf_proves_no_author_of_another_domain(directory: FakeDirectory) -> None:
    assert (await ask(directory, post(ANN, "alice@demo.example", spf="pass"))).verdict is Verdict.REJECT
    assert (await ask(directory, post(ANN, "alice@demo.example", spf="temperror"))).verdict is Verdict.REJECT


@pytest.mark.parametrize("results", [{"spf": "temperror"}, {"dmarc": "temperror"}])
async def test_a_proof_that_cannot_be_had_now_is_a_delay(directory: FakeDirectory, results: dict[str, str]) -> None:
    assert (await ask(directory, post(**results))).verdict is Verdict.DEFER


async def test_only_the_own_name_of_a_mailbox_is_a_member(directory: FakeDirectory) -> None:
    for via in Via:
        directory.answers["x@demo.example"] = leads_to("x@demo.example", ALICE, via)
        result = await ask(directory, post("x@demo.example", "x@demo.example", dmarc="pass"))
        own = via in {Via.MAILBOX, Via.ALIAS, Via.WILDCARD, Via.SUB_ADDRESS}
        assert (result.verdict is Verdict.ACCEPT) == own, via


async def test_a_full_mailbox_is_still_a_member(directory: FakeDirectory) -> None:
    full = directory.answers["alice@demo.example"]
    directory.answers["alice@demo.example"] = Resolution(
        forward_path=full.forward_path,
        outcome=Outcome.REJECT,
        kind=ErrorKind.OVER_QUOTA,
        targets=full.targets,
        via=full.via,
    )
    assert (await ask(directory, post("alice@demo.example", "alice@demo.example", dmarc="pass"))).reason == ""


async def test_everything_else_is_accepted_without_asking_for_senders(directory: FakeDirectory) -> None:
    request = post("eve@evil.example", "eve@evil.example", "bob@demo.example", "nobody@demo.example")
    reply = await PrecheckService(directory).precheck(request)
    assert [result.verdict for result in reply.results] == [Verdict.ACCEPT] * 2
    assert [asked.forward_paths for asked in directory.requests] == [("bob@demo.example", "nobody@demo.example")]


async def test_each_recipient_has_its_own_word(directory: FakeDirectory) -> None:
    request = post("eve@evil.example", "eve@evil.example", "bob@demo.example", TEAM)
    reply = await PrecheckService(directory).precheck(request)
    assert [result.verdict for result in reply.results] == [Verdict.ACCEPT, Verdict.REJECT]


async def test_a_refusal_is_confirmed_past_the_caches(directory: FakeDirectory) -> None:
    directory.stale["alice@demo.example"] = leads_to("alice@demo.example", BOB)
    request = post("alice@demo.example", "alice@demo.example", dmarc="pass")
    assert (await ask(directory, request)).verdict is Verdict.ACCEPT


async def test_an_absent_database_is_a_delay(directory: FakeDirectory) -> None:
    for path in (TEAM, ANN):
        directory.answers[path] = Resolution(forward_path=path, outcome=Outcome.LATER, reason="away")
        with pytest.raises(MailError) as error:
            await ask(directory, post(dmarc="pass"))
        assert error.value.kind is ErrorKind.UNAVAILABLE
        directory.answers = FakeDirectory().answers
