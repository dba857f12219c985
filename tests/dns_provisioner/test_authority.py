"""The private CA: what clients verify, names, lifetimes; keys at rest."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store

from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.sealing import Sealer, read_master_key
from postbusd.dns_provisioner.authority import make_authority, make_server_certificate
from postbusd.dns_provisioner.provisioner import DAY_MS, certificate_names

NOW_MS = 1_790_000_000_000
NAMES = ("mail.demo.example", "localhost", "127.0.0.1", "::1")


def test_a_server_certificate_verifies_against_its_ca() -> None:
    authority = make_authority("mail.demo.example", NOW_MS)
    pair = make_server_certificate(authority, NAMES, 90, NOW_MS)
    leaf = x509.load_pem_x509_certificate(pair.certificate_pem)
    root = x509.load_pem_x509_certificate(authority.certificate_pem)
    verifier = (
        PolicyBuilder()
        .store(Store([root]))
        .time(leaf.not_valid_before_utc.replace(tzinfo=None))
        .build_server_verifier(x509.DNSName("mail.demo.example"))
    )
    assert verifier.verify(leaf, []) == [leaf, root]
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)


def test_names_are_dns_names_and_addresses() -> None:
    pair = make_server_certificate(make_authority("x.example", NOW_MS), NAMES, 90, NOW_MS)
    leaf = x509.load_pem_x509_certificate(pair.certificate_pem)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mail.demo.example", "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


def test_a_server_certificate_does_not_outlive_its_ca() -> None:
    authority = make_authority("x.example", NOW_MS)
    pair = make_server_certificate(authority, NAMES, 90, authority.not_after_ms - DAY_MS)
    assert pair.not_after_ms == authority.not_after_ms
    assert make_server_certificate(authority, NAMES, 90, NOW_MS).not_after_ms == NOW_MS + 90 * DAY_MS


def test_a_long_host_name_fits() -> None:
    host = f"{'a' * 60}.{'b' * 60}.example"
    pair = make_server_certificate(make_authority(host, NOW_MS), (host,), 90, NOW_MS)
    assert host.encode() not in x509.load_pem_x509_certificate(pair.certificate_pem).subject.public_bytes()


def test_certificate_names_are_canonical_and_unique() -> None:
    found = certificate_names("Mail.Demo.Example.", ("bücher.example", "[::0001]", "10.0.0.1", "localhost"))
    assert found == ("mail.demo.example", "localhost", "127.0.0.1", "::1", "xn--bcher-kva.example", "10.0.0.1")


def test_a_sealed_key_opens_for_its_owner_only() -> None:
    sealer = Sealer(b"k" * 32)
    sealed = sealer.seal(b"secret", "certificate:1")
    assert b"secret" not in sealed
    assert sealer.open(sealed, "certificate:1") == b"secret"
    for other, data, owner in (
        (sealer, sealed, "certificate:2"),
        (Sealer(b"x" * 32), sealed, "certificate:1"),
        (sealer, sealed[:-1], "certificate:1"),
        (sealer, b"", "certificate:1"),
        (sealer, b"\x02" + sealed[1:], "certificate:1"),
    ):
        with pytest.raises(MailError, match=r"another master\.key") as raised:
            other.open(data, owner)
        assert raised.value.kind is ErrorKind.INVALID


def test_the_master_key_is_32_octets_in_hexadecimal(tmp_path: Path) -> None:
    file = tmp_path / "master.key"
    with pytest.raises(MailError, match="No such file"):
        read_master_key(tmp_path)
    for text, reason in (("zz", "hexadecimal"), ("00", "32 octets")):
        file.write_text(text)
        with pytest.raises(MailError, match=reason):
            read_master_key(tmp_path)
    file.write_text("ab" * 32 + "\n")
    assert read_master_key(tmp_path) == b"\xab" * 32
