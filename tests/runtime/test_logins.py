"""Open sessions end when their logins do, and only then."""

import asyncio

import pytest

from postbus.contracts.events import DirectoryChanged
from postbus.contracts.logins import (
    MAX_SHOWN_LOGINS,
    AuthenticateReply,
    ConfirmedLogin,
    ConfirmLoginsReply,
    ConfirmLoginsRequest,
)
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbus.runtime import watch as watching
from postbus.runtime.logins import LoginWatch

KIM, LEE = MailboxId("00000000-0000-7000-8000-000000000001"), MailboxId("00000000-0000-7000-8000-000000000002")


class Confirmer:
    def __init__(self) -> None:
        self.ended: set[str] = set()
        self.away = False
        self.requests: list[ConfirmLoginsRequest] = []

    async def confirm_logins(self, request: ConfirmLoginsRequest) -> ConfirmLoginsReply:
        self.requests.append(request)
        await asyncio.sleep(0)
        if self.away:
            raise MailError(ErrorKind.UNAVAILABLE, "away")
        words = (ConfirmedLogin(stands=each.proof not in self.ended, quota_octets=5) for each in request.logins)
        return ConfirmLoginsReply(logins=tuple(words), revision=9)


def login(mailbox_id: MailboxId = KIM, proof: str = "p", revision: int = 1) -> AuthenticateReply:
    return AuthenticateReply(mailbox_id=mailbox_id, address="x@a.test", member="x", proof=proof, revision=revision)


@pytest.fixture
def confirmer() -> Confirmer:
    return Confirmer()


@pytest.fixture
def watch(confirmer: Confirmer) -> LoginWatch:
    return LoginWatch(confirmer)


async def test_each_session_hears_of_its_own_login(watch: LoginWatch, confirmer: Confirmer) -> None:
    told: dict[str, ConfirmedLogin] = {}
    for name, proof in (("one", "p"), ("two", "p"), ("three", "q")):
        watch.enter(login(proof=proof), lambda word, name=name: told.update({name: word}))  # type: ignore[misc]
    confirmer.ended.add("p")
    assert await watch.check()
    assert {name: word.stands for name, word in told.items()} == {"one": False, "two": False, "three": True}
    assert told["three"].quota_octets == 5
    assert len(confirmer.requests[0].logins) == 2


async def test_who_has_left_is_not_asked_about(watch: LoginWatch, confirmer: Confirmer) -> None:
    told: list[ConfirmedLogin] = []
    leave = watch.enter(login(), told.append)
    watch.enter(login(LEE, "q"), told.append)
    leave()
    leave()
    confirmer.ended |= {"p", "q"}
    assert await watch.check()
    assert [[each.proof for each in request.logins] for request in confirmer.requests] == [["q"]]
    assert len(told) == 1


async def test_who_leaves_while_directory_is_asked_hears_nothing(watch: LoginWatch) -> None:
    told: list[ConfirmedLogin] = []
    leave = watch.enter(login(), told.append)
    asking = asyncio.ensure_future(watch.check())
    await asyncio.sleep(0)
    leave()
    assert await asking
    assert told == []


async def test_a_directory_that_is_away_ends_nothing(watch: LoginWatch, confirmer: Confirmer) -> None:
    told: list[ConfirmedLogin] = []
    watch.enter(login(), told.append)
    confirmer.ended.add("p")
    confirmer.away = True
    assert not await watch.check()
    assert told == []


async def test_an_older_directory_gives_no_proof_and_is_not_asked(watch: LoginWatch, confirmer: Confirmer) -> None:
    watch.enter(login(proof=""), lambda word: None)()
    assert await watch.check()
    assert confirmer.requests == []


async def test_many_sessions_are_asked_about_in_bounded_requests(watch: LoginWatch, confirmer: Confirmer) -> None:
    for number in range(2 * MAX_SHOWN_LOGINS + 1):
        watch.enter(login(proof=str(number)), lambda word: None)
    assert await watch.check()
    assert [len(each.logins) for each in confirmer.requests] == [MAX_SHOWN_LOGINS, MAX_SHOWN_LOGINS, 1]


@pytest.mark.parametrize("news", ["change", "reconnect", "late", "time"])
async def test_what_makes_it_ask(
    watch: LoginWatch, confirmer: Confirmer, monkeypatch: pytest.MonkeyPatch, news: str
) -> None:
    monkeypatch.setattr(watching, "GATHER_SECONDS", 0.0)
    monkeypatch.setattr(watching, "RECHECK_SECONDS", 0.0 if news == "time" else 3600.0)
    heard = asyncio.Event()
    if news != "late":
        watch.enter(login(), lambda word: heard.set())
    task = asyncio.create_task(watch.run())
    if news == "change":
        await watch.on_changed(DirectoryChanged(revision=2, addresses=(), domains=()))
    elif news == "reconnect":
        await watch.on_reconnect()
    elif news == "late":  # the login was checked before a change that the watch has been told of already
        await watch.on_changed(DirectoryChanged(revision=2, addresses=(), domains=()))
        for _ in range(5):
            await asyncio.sleep(0)
        watch.enter(login(revision=1), lambda word: heard.set())
    await asyncio.wait_for(heard.wait(), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_question_without_an_answer_is_asked_again(
    watch: LoginWatch, confirmer: Confirmer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "RETRY_SECONDS", 0.0)
    heard = asyncio.Event()
    watch.enter(login(), lambda word: heard.set())
    confirmer.away = True
    task = asyncio.create_task(watch.run())
    await watch.on_reconnect()
    while len(confirmer.requests) < 3:
        await asyncio.sleep(0)
    confirmer.away = False
    await asyncio.wait_for(heard.wait(), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
