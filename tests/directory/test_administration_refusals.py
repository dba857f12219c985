"""What the administrator's commands refuse before anything is asked: names, limits, relays, actors; the field first."""

import pytest

from postbus.contracts.owners import Owner, OwnerKind
from postbus.contracts.relays import Relay, RelaySecurity
from postbus.core.errors import ErrorKind
from postbus.testing.directory_office import Office, refused
from postbus.testing.directory_office_contract import events_of
from postbusd.directory.administration.rules import MAX_ALIASES, MAX_CATCH_ALL, MAX_MEMBERS
from postbusd.directory.administration.secrets import make_secret
from postbusd.directory.administration.values import MAX_LINES_TOLD

NOUNS = ("domain", "mailbox", "user", "group", "app", "alias", "list")


@pytest.fixture
async def office() -> Office:
    office = Office()
    await office.put_domain("a.test")
    await office.put_mailbox("kim@a.test")
    return office


@pytest.mark.parametrize("name", ["k", "k_1", "k.l", "k*", "-*_", "*.k"])
async def test_good_names_of_aliases(office: Office, name: str) -> None:
    assert (await office.put_alias(f"{name}@a.test", "kim@a.test")).created


@pytest.mark.parametrize(
    "name",
    [
        "*",
        "**",
        "*@",
        "k+l",
        "k**",
        ".k",
        "k.",
        "a..b",
        "",
        "é",
        "x" * 201,
        "postmaster",
        "ABUSE",
        "k.app",
        "*.app",
        "k l",
    ],
)
async def test_bad_names_of_aliases(office: Office, name: str) -> None:
    with refused(ErrorKind.INVALID, "address: "):
        await office.put_alias(f"{name}@a.test", "kim@a.test")


async def test_five_stars_are_the_most(office: Office) -> None:
    assert (await office.put_alias("*a*b*c*d*@a.test", "kim@a.test")).created
    with refused(ErrorKind.INVALID, "address: at most 5"):
        await office.put_alias("*a*b*c*d*e*@a.test", "kim@a.test")


@pytest.mark.parametrize("name", ["", ".a", "a..b", "a+b", "a_b", "a*", "é", "x.app", "postmaster", "abuse", "a b"])
async def test_names_of_lists_and_groups_addresses(office: Office, name: str) -> None:
    for attempt in (office.put_list(f"{name}@a.test"), office.put_group("staff", address=f"{name}@a.test")):
        with refused(ErrorKind.INVALID, "address: "):
            await attempt


async def test_a_lists_bounce_address_must_have_room(office: Office) -> None:
    assert (await office.put_list(f"{'x' * 192}@a.test")).created
    with refused(ErrorKind.INVALID, "address: the local part of a list may have 192"):
        await office.put_list(f"{'x' * 193}@a.test")


async def test_an_address_as_a_whole_is_bounded(office: Office) -> None:
    domain = ".".join(["x" * 60] * 3) + ".test"
    await office.put_domain(domain)
    most = "y" * (253 - len(domain))
    assert (await office.put_mailbox(f"{most}@{domain}")).created
    with refused(ErrorKind.INVALID, "address: at most 254"):
        await office.put_mailbox(f"{most}y@{domain}")


@pytest.mark.parametrize("name", ["kim", "Kim.O", "k_1", "k-1", "k+1", "kim@b.test", "0", "-@a.test", "x" * 254])
async def test_good_names_of_users(office: Office, name: str) -> None:
    assert (await office.put_user(name)).user.username == name.lower()
    assert await office.delete("user", name) == (f"user {name.lower()}",)


@pytest.mark.parametrize(
    "name", ["", " ", "k m", "k\tm", "k\0m", ".", "..", "é", "k/m", "@a.test", "k@", "k@a b", "k@a@b.test", "x" * 255]
)
async def test_bad_names_of_users(office: Office, name: str) -> None:
    with refused(ErrorKind.INVALID, "username: "):
        await office.put_user(name)
    with refused(ErrorKind.INVALID, "name: "):
        await office.get("user", name)
    with refused(ErrorKind.INVALID, "members: "):
        await office.put_group("staff", name)
    with refused(ErrorKind.INVALID, "owner: "):
        await office.put_mailbox("team@a.test", None, owner=Owner(kind=OwnerKind.USER, name=name))


async def test_facts_of_users_are_bounded(office: Office) -> None:
    with refused(ErrorKind.INVALID, "display_name: at most 200"):
        await office.put_user("lee", display_name="x" * 201)
    with refused(ErrorKind.INVALID, "display_name: control"):
        await office.put_user("lee", display_name="Lee\nPat")
    with refused(ErrorKind.INVALID, "password: "):
        await office.put_user("lee", "short")
    with refused(ErrorKind.NOT_FOUND, "name: "):
        await office.get("user", "lee")


@pytest.mark.parametrize("name", ["", "a b", "é", "a@a.test", "..", "x" * 101])
async def test_bad_names_of_groups(office: Office, name: str) -> None:
    with refused(ErrorKind.INVALID, "name: "):
        await office.put_group(name)
    with refused(ErrorKind.INVALID, "owner: "):
        await office.put_mailbox("team@a.test", None, owner=Owner(kind=OwnerKind.GROUP, name=name))


@pytest.mark.parametrize("name", ["", "a.b", "a_b", "a b", "é", "x" * 61])
async def test_bad_names_of_apps(office: Office, name: str) -> None:
    with refused(ErrorKind.INVALID, "name: "):
        await office.put_app(name, "a.test")
    assert len(office.accounts.ensured) == 1


async def test_apps_have_good_domains_and_addresses(office: Office) -> None:
    with refused(ErrorKind.INVALID, "domain: "):
        await office.put_app("shop", "a b")
    with refused(ErrorKind.INVALID, "address: "):
        await office.put_app("shop", "a.test", address="a+b@a.test")
    assert (await office.put_app("x" * 60, "a.test")).created


async def test_members_of_lists_are_addresses(office: Office) -> None:
    for member in ("kim", "@a.test", "Kim <kim@a.test>", "kim@a b"):
        with refused(ErrorKind.INVALID, "members: "):
            await office.put_list("all@a.test", "kim@a.test", member)


async def test_numbers_are_bounded(office: Office) -> None:
    too_many = [f"m{number}@b.test" for number in range(MAX_MEMBERS + 1)]
    with refused(ErrorKind.INVALID, "members: at most 10000"):
        await office.put_list("all@a.test", *too_many)
    with refused(ErrorKind.INVALID, "members: at most 10000"):
        await office.put_group("staff", *too_many)
    with refused(ErrorKind.INVALID, "catch_all: at most 20"):
        await office.put_domain("a.test", catch_all=tuple(too_many[: MAX_CATCH_ALL + 1]))
    assert len((await office.put_list("all@a.test", *too_many[1:])).list.members) == MAX_MEMBERS


async def test_aliases_of_one_mailbox_are_bounded(office: Office) -> None:
    await office.put_mailbox("zoe@a.test")
    await office.put_alias("more@a.test", "zoe@a.test")
    for number in range(MAX_ALIASES):
        await office.put_alias(f"k{number}@a.test", "kim@a.test")
    for address in ("new@a.test", "more@a.test"):
        with refused(ErrorKind.CONFLICT, "mailbox: it has 1000 aliases"):
            await office.put_alias(address, "kim@a.test")
    assert not (await office.put_alias("k7@a.test", "kim@a.test")).created
    await events_of(office)
    assert len(await office.delete("mailbox", "kim@a.test")) == MAX_ALIASES + 2
    (event,) = await events_of(office)
    assert event.detail.split(", ")[MAX_LINES_TOLD:] == [f"{MAX_ALIASES + 1 - MAX_LINES_TOLD} more"]


@pytest.mark.parametrize(
    ("relay", "field"),
    [
        (Relay(host=""), "relay.host"),
        (Relay(host="a b"), "relay.host"),
        (Relay(host="https://a.test"), "relay.host"),
        (Relay(host="300.0.0.1"), "relay.host"),
        (Relay(host="[fe80::1%eth0"), "relay.host"),
        (Relay(host="r.test", port=0), "relay.port"),
        (Relay(host="r.test", port=65_536), "relay.port"),
        (Relay(host="r.test", username="a\nb", password="x"), "relay.username"),
        (Relay(host="r.test", username="u" * 256, password="x"), "relay.username"),
        (Relay(host="r.test", username="u", password="a\0b"), "relay.password"),
        (Relay(host="r.test", username="u", password="x" * 1001), "relay.password"),
        (Relay(host="r.test", password="x"), "relay.password"),
        (Relay(host="r.test", username="u", password="x", security=RelaySecurity.NONE), "relay.security"),
        (Relay(host="r.test", username="u", security=RelaySecurity.NONE), "relay.security"),
        (Relay(host="r.test", username="u"), "relay.password"),
    ],
)
async def test_bad_relays(office: Office, relay: Relay, field: str) -> None:
    before = await office.trace()
    with refused(ErrorKind.INVALID, f"{field}: "):
        await office.put_domain("a.test", relay=relay)
    assert await office.trace() == before


@pytest.mark.parametrize(
    ("host", "kept"),
    [
        ("Smart.Test", "smart.test"),
        ("relay", "relay"),
        ("bücher.test", "xn--bcher-kva.test"),
        ("192.0.2.1", "192.0.2.1"),
        ("[192.0.2.1]", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("[IPv6:2001:db8:0::1]", "2001:db8::1"),
    ],
)
async def test_good_hosts_of_relays(office: Office, host: str, kept: str) -> None:
    domain = await office.put_domain("a.test", relay=Relay(host=host, security=RelaySecurity.NONE))
    assert domain.relay == Relay(host=kept, security=RelaySecurity.NONE)


async def test_a_relays_password_of_another_master_key_is_written_anew(office: Office) -> None:
    relay = Relay(host="r.test", username="us", password="secret")
    await office.put_domain("a.test", relay=relay)
    office.memory.relay_passwords["a.test"] = b"\x01 sealed by another"
    before = await office.trace()
    await office.put_domain("a.test", relay=relay)
    assert (await office.trace())[0] == before[0] + 1
    assert office.memory.relay_passwords["a.test"] != b"\x01 sealed by another"


async def test_a_password_of_before_there_were_tags_gets_its_tag(office: Office) -> None:
    stored = office.memory.passwords["kim@a.test"]
    office.memory.passwords["kim@a.test"] = type(stored)(secret_hash=stored.secret_hash)
    await office.put_mailbox("kim@a.test")
    assert office.memory.passwords["kim@a.test"] == stored
    assert office.hasher.hashes == 1


def test_credentials_have_128_bits_and_can_be_read_out() -> None:
    made = {make_secret() for _ in range(100)}
    assert len(made) == 100
    for credential in made:
        groups = credential.split("-")
        assert [len(group) for group in groups] == [5, 5, 5, 5, 5, 1]
        assert set("".join(groups)) <= set("abcdefghijklmnopqrstuvwxyz234567")
