"""What a domain needs in DNS, from what directory and the keyring say: pure, so that a plan can be read and tested.

MX when we take its mail (RFC 5321 §5.1), SPF (RFC 7208), a key record for each DKIM key (RFC 6376 §3.6.1) and DMARC
(RFC 9989 §4). Addresses of the mail host are its owner's business.
"""

from collections.abc import Sequence
from typing import Final

from postbus.contracts.dns_provisioner import WantedRecord
from postbus.contracts.domains import Domain
from postbusd.dns_provisioner.dkim_keys import KEY_TYPES, format_key_record
from postbusd.dns_provisioner.values import PublicDkimKey

MX_PREFERENCE: Final = 10
ALTERNATE_PREFERENCE: Final = 20
DKIM_LABEL: Final = "_domainkey"
DMARC_LABEL: Final = "_dmarc"


def plan_records(domain: Domain, mail_host: str, keys: Sequence[PublicDkimKey]) -> tuple[WantedRecord, ...]:
    """The record sets in the order in which an administrator should set them."""
    records = [plan_spf(domain, mail_host), *(plan_dkim(domain.name, key) for key in keys), plan_dmarc(domain.name)]
    return (plan_mx(domain, mail_host), *records) if domain.incoming else tuple(records)


def plan_mx(domain: Domain, mail_host: str) -> WantedRecord:
    """Mail for the domain comes to us; where we are silent, to the hosts among its alternate MXs."""
    others = [each for each in domain.alternate_mx if is_host(each)]
    return WantedRecord(
        name=domain.name,
        type="MX",
        values=(f"{MX_PREFERENCE} {mail_host}.", *(f"{ALTERNATE_PREFERENCE} {each}." for each in others)),
        purpose="MX: mail for the domain comes to this installation",
    )


def plan_spf(domain: Domain, mail_host: str) -> WantedRecord:
    """RFC 7208; with a relay forgery is only marked until the relay's own mechanism stands in the record too."""
    relay = domain.relay
    return WantedRecord(
        name=domain.name,
        type="TXT",
        values=(f"v=spf1 {spf_mechanism(mail_host)} {'-all' if relay is None else '~all'}",),
        purpose="SPF: which hosts send mail of the domain",
        advice="" if relay is None else relay_advice(relay.host),
    )


def is_host(entry: str) -> bool:
    """Of an alternate MX: a name, no network."""
    return "/" not in entry


def spf_mechanism(mail_host: str) -> str:
    """Ours: the addresses of the mail host."""
    return f"a:{mail_host}"


def relay_advice(relay_host: str) -> str:
    """Only the relay's provider knows its mechanism."""
    return (
        f"mail of this domain leaves by the smart host {relay_host}: add the mechanism that its provider asks for "
        "(include:... or a:...) before ~all"
    )


def plan_dkim(name: str, key: PublicDkimKey) -> WantedRecord:
    """Where verifiers look for the key (RFC 6376 §3.6.2.1)."""
    return WantedRecord(
        name=f"{key.selector}.{DKIM_LABEL}.{name}",
        type="TXT",
        values=(format_key_record(key.algorithm, key.public_key),),
        purpose=f"DKIM: the key ({KEY_TYPES[key.algorithm]}) that proves signatures of the domain",
    )


def plan_dmarc(name: str) -> WantedRecord:
    """RFC 9989 §4.7."""
    return WantedRecord(
        name=f"{DMARC_LABEL}.{name}",
        type="TXT",
        values=(f"v=DMARC1; p=reject; rua=mailto:postmaster@{name}; pct=100",),
        purpose="DMARC: forged mail of the domain is refused, reports go to its postmaster",
    )
