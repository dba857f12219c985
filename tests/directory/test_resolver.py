"""The resolver against a model that knows nothing of steps: it tries every mailbox for every address."""

from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.contracts.directory import Domain, Outcome, Resolution
from postbus.core.errors import ErrorKind
from postbus.core.ids import MailboxId
from postbusd.directory.names import read_forward_path
from postbusd.directory.resolver import resolve_address, wanted_keys
from postbusd.directory.values import DomainFacts, Facts, Found, Key, KeyKind, MailboxFacts

DOMAINS = ("a.test", "b.test", "c.test")
NAMES = ("bob", "ann", "bob.ann", "x-1", "Bob", "nobody", "postmaster", "POSTMASTER", "abuse", '"bob"')
DETAILS = ("", "+", "+news", "+News+old", "+postmaster")


class Site:
    """A generated directory: domains in order of creation, mailboxes likewise."""

    def __init__(self, domains: list[Domain], mailboxes: list[MailboxFacts], used: dict[MailboxId, int]) -> None:
        self.domains = domains
        self.mailboxes = mailboxes
        self.used = used

    def facts(self, keys: tuple[Key, ...]) -> Facts:
        return Facts(revision=1, found={key: self._find(key) for key in keys}, used_octets=self.used)

    def _find(self, key: Key) -> Found:
        name = key.domain or next((each.name for each in self.domains if each.incoming), "")
        own = [each for each in self.mailboxes if each.address.partition("@")[2] == name]
        wanted = [
            each
            for each in own
            if (each.active if key.kind is KeyKind.SYSTEM else each.address.partition("@")[0] == key.local_part)
        ]
        return Found(
            domain=next(
                (DomainFacts(name=name, incoming=each.incoming) for each in self.domains if each.name == name), None
            ),
            mailbox=wanted[0] if wanted else None,
        )


@st.composite
def sites(draw: st.DrawFn) -> Site:
    domains = [Domain(name=name, incoming=draw(st.booleans())) for name in draw(st.permutations(DOMAINS[:2]))]
    mailboxes: list[MailboxFacts] = []
    used: dict[MailboxId, int] = {}
    for number, (name, domain) in enumerate(
        draw(st.lists(st.tuples(st.sampled_from(NAMES[:4]), st.sampled_from(DOMAINS[:2])), unique=True, max_size=8))
    ):
        mailbox = MailboxFacts(
            mailbox_id=MailboxId(str(number)),
            address=f"{name}@{domain}",
            active=draw(st.booleans()),
            quota_octets=draw(st.sampled_from([None, 100])),
        )
        mailboxes.append(mailbox)
        used[mailbox.mailbox_id] = draw(st.sampled_from([0, 99, 100, 101]))
    return Site(domains, mailboxes, used)


def expected(site: Site, local_part: str, domain: str) -> tuple[Outcome, ErrorKind | None, str, str]:
    """outcome, kind, mailbox, detail by exhaustive search."""
    name = local_part.strip('"').lower()
    incoming = {each.name: each.incoming for each in site.domains}
    if domain not in incoming:
        return Outcome.REMOTE, None, "", ""
    if not incoming[domain]:
        return Outcome.REJECT, ErrorKind.REJECTED_POLICY, "", ""
    own = [each for each in site.mailboxes if each.address.endswith(f"@{domain}")]
    if name in ("postmaster", "abuse"):
        candidates = [(each, "") for each in own if each.active]
    else:
        candidates = [(each, "") for each in own if each.address == f"{name}@{domain}"] or [
            (each, local_part.strip('"')[local_part.strip('"').index("+") + 1 :])
            for each in own
            if "+" in name and each.address == f"{name[: name.index('+')]}@{domain}"
        ]
    if not candidates:
        return Outcome.REJECT, ErrorKind.NOT_FOUND, "", ""
    mailbox, detail = candidates[0]
    if not mailbox.active:
        return Outcome.REJECT, ErrorKind.INACTIVE, "", ""
    if mailbox.quota_octets is not None and site.used[mailbox.mailbox_id] >= mailbox.quota_octets:
        return Outcome.REJECT, ErrorKind.OVER_QUOTA, mailbox.address, detail
    return Outcome.MAILBOX, None, mailbox.address, detail


def resolve(site: Site, forward_path: str) -> Resolution:
    address = read_forward_path(forward_path)
    keys = wanted_keys(address) if address is not None else ()
    return resolve_address(forward_path, address, site.facts(keys))


@given(site=sites(), name=st.sampled_from(NAMES), detail=st.sampled_from(DETAILS), domain=st.sampled_from(DOMAINS))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_the_resolver_agrees_with_the_model(site: Site, name: str, detail: str, domain: str) -> None:
    local_part = f'"bob{detail}"' if name == '"bob"' else name + detail
    answer = resolve(site, f"{local_part}@{domain.upper()}")
    target = answer.targets[0] if answer.targets else None
    got = (answer.outcome, answer.kind, target.address if target else "", target.detail if target else "")
    assert got == expected(site, local_part, domain)
    assert answer.forward_path == f"{local_part}@{domain.upper()}"


def make_site(*, incoming: bool = True) -> Site:
    boxes = [MailboxFacts(mailbox_id=MailboxId(name), address=f"{name}@a.test") for name in ("first", "kim")]
    return Site([Domain(name="a.test", incoming=incoming)], boxes, {})


def test_a_bare_postmaster_goes_to_the_first_receiving_domain() -> None:
    assert resolve(make_site(), "Postmaster").targets[0].address == "first@a.test"
    assert resolve(make_site(incoming=False), "postmaster").kind is ErrorKind.NOT_FOUND


def test_garbage_is_invalid() -> None:
    for text in (
        "",
        "kim",
        "@a.test",
        "kim@",
        "k im@a.test",
        "kim@a..test",
        "kim\0@a.test",
        "kim@[1.2.3",
        "\ud800@a.test",
    ):
        answer = resolve(make_site(), text)
        assert (answer.outcome, answer.kind) == (Outcome.REJECT, ErrorKind.INVALID), text


def test_foreign_letters_that_look_like_ours_are_not_ours() -> None:
    assert resolve(make_site(), "\u212aim@a.test").kind is ErrorKind.NOT_FOUND
    assert resolve(make_site(), "KIM@A.TEST").outcome is Outcome.MAILBOX


def test_an_address_literal_and_a_foreign_name_are_remote() -> None:
    assert resolve(make_site(), "kim@[127.0.0.1]").outcome is Outcome.REMOTE
    assert resolve(make_site(), "kim@bücher.example").outcome is Outcome.REMOTE
