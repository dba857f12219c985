"""What becomes of mail, rule by rule; the whole order is checked against a model in test_resolver_model."""

import pytest
from prometheus_client import CollectorRegistry

from postbus.contracts.directory import Outcome, Resolution, ResolveRequest, Via
from postbus.contracts.owners import Owner, OwnerKind
from postbus.core.errors import ErrorKind
from postbus.testing.directory import ManualClock, MemoryAccounts
from postbus.testing.directory_sites import Site
from postbusd.directory.resolution import CachedResolver
from postbusd.directory.resolver import MAX_LIST_DEPTH


async def resolve_all(site: Site, *addresses: str) -> tuple[Resolution, ...]:
    accounts = MemoryAccounts()
    accounts.used = site.used
    resolver = CachedResolver(site.directory, accounts, ManualClock(), CollectorRegistry())
    return (await resolver.resolve(ResolveRequest(forward_paths=addresses))).resolutions


async def resolve(site: Site, address: str) -> Resolution:
    return (await resolve_all(site, address))[0]


def names(answer: Resolution) -> list[str]:
    return [target.address for target in answer.targets]


@pytest.fixture
def site() -> Site:
    """A domain with two mailboxes."""
    site = Site("a.test")
    site.put_mailbox("first@a.test")
    site.put_mailbox("kim@a.test")
    return site


async def test_a_bare_postmaster_goes_to_the_first_receiving_domain(site: Site) -> None:
    assert names(await resolve(site, "Postmaster")) == ["first@a.test"]
    site.put_domain("a.test", incoming=False)
    assert (await resolve(site, "postmaster")).kind is ErrorKind.NOT_FOUND


async def test_a_domain_without_mailboxes_still_has_a_postmaster_by_its_aliases_or_catch_all(site: Site) -> None:
    site.put_domain("b.test")
    site.put_domain("c.test", catch_all=("kim@a.test",))
    site.put_alias("*@b.test", "kim@a.test")
    by_wildcard, by_catch_all = await resolve_all(site, "postmaster@b.test", "abuse@c.test")
    assert (by_wildcard.via, names(by_wildcard)) == (Via.WILDCARD, ["kim@a.test"])
    assert (by_catch_all.via, names(by_catch_all)) == (Via.CATCH_ALL, ["kim@a.test"])


@pytest.mark.parametrize(
    "text", ["", "kim", "@a.test", "kim@", "k im@a.test", "kim@a..test", "kim\0@a.test", "kim@[1.2.3", "\ud800@a.test"]
)
async def test_garbage_is_invalid(site: Site, text: str) -> None:
    answer = await resolve(site, text)
    assert (answer.outcome, answer.kind, answer.via) == (Outcome.REJECT, ErrorKind.INVALID, Via.NONE)


async def test_foreign_letters_that_look_like_ours_are_not_ours(site: Site) -> None:
    kelvin, upper = await resolve_all(site, "\u212aim@a.test", "KIM@A.TEST")
    assert kelvin.kind is ErrorKind.NOT_FOUND
    assert upper.outcome is Outcome.MAILBOX


async def test_a_quoted_name_means_what_is_quoted(site: Site) -> None:
    answer = await resolve(site, '"kim+a b"@a.test')
    assert (names(answer), answer.targets[0].detail) == (["kim@a.test"], "a b")


async def test_an_address_literal_and_a_foreign_name_are_remote(site: Site) -> None:
    answers = await resolve_all(site, "kim@[127.0.0.1]", "kim@bücher.example", "postmaster@c.test")
    assert {answer.outcome for answer in answers} == {Outcome.REMOTE}


async def test_the_most_specific_wildcard_wins(site: Site) -> None:
    for pattern in ("*", "s*", "*es", "s*es", "s**es", "sal*"):
        site.put_mailbox(f"to-{len(site.directory.mailboxes)}@a.test")
        site.put_alias(f"{pattern}@a.test", list(site.directory.mailboxes)[-1])
    to = {alias.address.partition("@")[0]: alias.mailbox for alias in site.directory.aliases.values()}
    for asked, pattern in {
        "sales": "s*es",  # three letters as sal*, one star as sal*; * stands before a
        "salt": "sal*",
        "yes": "*es",
        "s": "s*",
        "x": "*",
        "ses": "s*es",
    }.items():
        answer = await resolve(site, f"{asked}@a.test")
        assert (answer.via, names(answer)) == (Via.WILDCARD, [to[pattern]]), asked


async def test_what_looks_like_a_pattern_in_an_address_is_literal(site: Site) -> None:
    site.put_alias("a_%.\\*@a.test", "kim@a.test")
    fits, other = await resolve_all(site, '"a_%.\\\\x"@a.test', "axyz.x@a.test")
    assert (fits.via, other.kind) == (Via.WILDCARD, ErrorKind.NOT_FOUND)


async def test_mail_for_an_inactive_mailbox_and_its_aliases_goes_to_the_catch_all(site: Site) -> None:
    site.put_mailbox("gone@a.test", active=False)
    site.put_alias("alias@a.test", "gone@a.test")
    asked = ("gone@a.test", "alias@a.test", "gone+x@a.test")
    assert {answer.kind for answer in await resolve_all(site, *asked)} == {ErrorKind.INACTIVE}
    site.put_domain("a.test", catch_all=("kim@a.test", "first@a.test"))
    for answer in await resolve_all(site, *asked):
        assert (answer.via, names(answer)) == (Via.CATCH_ALL, ["first@a.test", "kim@a.test"])


async def test_a_catch_all_that_is_switched_off_is_none(site: Site) -> None:
    site.put_mailbox("gone@a.test", active=False)
    site.put_domain("a.test", catch_all=("gone@a.test",))
    nobody, gone = await resolve_all(site, "nobody@a.test", "gone@a.test")
    assert (nobody.kind, gone.kind) == (ErrorKind.NOT_FOUND, ErrorKind.INACTIVE)


async def test_an_inactive_owner_does_not_stop_mail(site: Site) -> None:
    site.put_user("lee", active=False)
    site.put_mailbox("lee@a.test", owner=Owner(kind=OwnerKind.USER, name="lee"))
    assert names(await resolve(site, "lee@a.test")) == ["lee@a.test"]


async def test_a_group_reaches_the_oldest_active_mailbox_of_each_active_member(site: Site) -> None:
    for name in ("lee", "pat", "zoe"):
        site.put_user(name, active=name != "zoe")
    site.put_group("staff", "zoe", "pat", "lee", address="staff@a.test")
    assert (await resolve(site, "staff@a.test")).kind is ErrorKind.INACTIVE
    for name, active in (("old", False), ("lee", True), ("lee2", True)):
        site.put_mailbox(f"{name}@a.test", active=active, owner=Owner(kind=OwnerKind.USER, name="lee"))
    site.put_mailbox("zoe@a.test", owner=Owner(kind=OwnerKind.USER, name="zoe"))
    site.put_mailbox("team@a.test", owner=Owner(kind=OwnerKind.GROUP, name="staff"))
    site.put_mailbox("pat@a.test", owner=Owner(kind=OwnerKind.USER, name="pat"))
    answer = await resolve(site, "staff@a.test")
    assert (answer.via, names(answer)) == (Via.GROUP, ["lee@a.test", "pat@a.test"])


async def test_a_quota_refuses_only_when_all_are_full(site: Site) -> None:
    site.put_mailbox("full@a.test", quota_octets=10, used_octets=12)
    site.put_mailbox("half@a.test", quota_octets=10, used_octets=4)
    site.put_domain("a.test", catch_all=("full@a.test", "half@a.test"))
    some, full, half, free = await resolve_all(site, "no@a.test", "full@a.test", "half@a.test", "kim@a.test")
    assert (some.outcome, names(some)) == (Outcome.MAILBOX, ["full@a.test", "half@a.test"])
    assert [target.free_octets for target in some.targets] == [0, 6]
    assert (full.outcome, full.kind, full.reason) == (Outcome.REJECT, ErrorKind.OVER_QUOTA, "mailbox full")
    assert (half.targets[0].free_octets, free.targets[0].free_octets) == (6, None)
    site.used[half.targets[0].mailbox_id] = 10
    assert (await resolve(site, "no@a.test")).kind is ErrorKind.OVER_QUOTA


async def test_a_silent_domain_refuses_but_tells_whose_its_addresses_are(site: Site) -> None:
    site.put_domain("b.test", incoming=False)
    site.put_mailbox("pat@b.test", quota_octets=1, used_octets=1)
    site.put_alias("p*@b.test", "kim@a.test")
    site.put_alias("to-b@a.test", "pat@b.test")
    site.put_list("list@b.test", "kim@a.test")
    asked = ("pat@b.test", "pat+x@b.test", "px@b.test", "no@b.test", "list@b.test")
    answers = await resolve_all(site, *asked)
    assert [answer.via for answer in answers] == [Via.MAILBOX, Via.WILDCARD, Via.WILDCARD, Via.NONE, Via.LIST]
    for answer in answers:
        assert (answer.outcome, answer.kind, answer.incoming) == (Outcome.REJECT, ErrorKind.REJECTED_POLICY, False)
    assert [names(answer) for answer in answers] == [["pat@b.test"], ["kim@a.test"], ["kim@a.test"], [], []]
    assert (await resolve(site, "to-b@a.test")).kind is ErrorKind.OVER_QUOTA


async def test_a_list_reaches_everybody_once_and_others_by_a_bounce_path(site: Site) -> None:
    site.put_domain("off.test", incoming=False)
    site.put_alias("k@a.test", "kim@a.test")
    site.put_list("inner@a.test", "first@a.test", "all@a.test", "PAT@c.test", "gone@a.test")
    members = ("kim@a.test", "k@a.test", "kim+x@a.test", "inner@a.test", "pat@c.test", '"o p"@c.test', "x@off.test")
    site.put_list("all@a.test", *members, members_only=True)
    answer, bounces = await resolve_all(site, "All@a.test", "all-Bounces@a.test")
    assert (answer.outcome, answer.via, answer.members_only) == (Outcome.LIST, Via.LIST, True)
    assert sorted(names(answer)) == ["first@a.test", "kim@a.test"]
    assert sorted(answer.remotes) == ['"o p"@c.test', "PAT@c.test", "pat@c.test", "x@off.test"]
    assert answer.bounce_path == "all-bounces@a.test"
    assert (bounces.via, names(bounces)) == (Via.SYSTEM, ["first@a.test"])


async def test_lists_that_reach_nobody_or_are_switched_off_refuse(site: Site) -> None:
    site.put_list("empty@a.test")
    site.put_list("nobody@a.test", "no@a.test", "empty@a.test", "off@a.test")
    site.put_list("off@a.test", "kim@a.test", active=False)
    answers = await resolve_all(site, "empty@a.test", "nobody@a.test", "off@a.test")
    assert [(each.kind, each.via) for each in answers] == [(ErrorKind.INACTIVE, Via.LIST)] * 3


async def test_a_full_member_does_not_stop_a_list(site: Site) -> None:
    site.put_mailbox("full@a.test", quota_octets=10, used_octets=10)
    site.put_list("all@a.test", "full@a.test", "kim@a.test")
    site.put_list("full-list@a.test", "full@a.test")
    site.put_list("mixed@a.test", "full@a.test", "pat@c.test")
    some, only, mixed = await resolve_all(site, "all@a.test", "full-list@a.test", "mixed@a.test")
    assert (some.outcome, len(some.targets)) == (Outcome.LIST, 2)
    assert (only.kind, mixed.outcome) == (ErrorKind.OVER_QUOTA, Outcome.LIST)


async def test_lists_in_lists_end_somewhere(site: Site) -> None:
    for number in range(MAX_LIST_DEPTH + 1):
        site.put_list(f"l{number}@a.test", f"l{number - 1}@a.test" if number else "kim@a.test")
    deepest, too_deep = await resolve_all(site, f"l{MAX_LIST_DEPTH - 1}@a.test", f"l{MAX_LIST_DEPTH}@a.test")
    assert names(deepest) == ["kim@a.test"]
    assert (too_deep.outcome, too_deep.kind) == (Outcome.REJECT, ErrorKind.REJECTED_POLICY)
    assert "levels" in too_deep.reason


async def test_a_list_has_a_largest_size(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postbusd.directory.resolver.MAX_LIST_RECIPIENTS", 3)
    site.put_list("three@a.test", "kim@a.test", "x@c.test", "y@c.test")
    site.put_list("four@a.test", "three@a.test", "first@a.test")
    three, four = await resolve_all(site, "three@a.test", "four@a.test")
    assert (three.outcome, four.kind) == (Outcome.LIST, ErrorKind.REJECTED_POLICY)


async def test_a_batch_is_one_query_and_one_more_for_each_level_of_lists(site: Site) -> None:
    site.put_list("outer@a.test", "inner@a.test", "kim@a.test")
    site.put_list("inner@a.test", "first@a.test")
    site.directory.reads = 0
    await resolve_all(site, "kim@a.test", "kim+x@a.test", "no@a.test", "x@c.test")
    assert site.directory.reads == 1
    site.directory.reads = 0
    await resolve_all(site, "outer@a.test", "kim@a.test")
    assert site.directory.reads == 3
