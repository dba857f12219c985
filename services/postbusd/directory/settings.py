"""Settings of directory: POSTBUS_DIRECTORY_<FIELD>. What administrators change at run time is data, not a setting."""

import ipaddress
from typing import Annotated

import msgspec

from postbus.core.egress import Network
from postbus.runtime.settings import field_doc


class DirectorySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How much hashing this process takes on."""

    hash_threads: Annotated[int, field_doc("Passwords hashed at the same time; each takes 19 MiB.")] = 2
    queue_logins: Annotated[int, field_doc("Password checks that may wait for a thread; further ones are put off.")] = (
        64
    )
    provider_egress_allow: Annotated[
        tuple[str, ...],
        field_doc(
            "Networks of private, loopback or link-local addresses that the identity provider may be in, as "
            "192.0.2.0/24; plain http goes to these only."
        ),
    ] = ()
    provider_ca_file: Annotated[
        str, field_doc("Certificates of private CAs of the identity provider besides the system's, PEM; empty: none.")
    ] = ""

    def __post_init__(self) -> None:
        """Raises ValueError, naming the setting."""
        try:
            self.provider_networks()
        except ValueError as error:
            raise ValueError(f"provider_egress_allow: {error}") from error

    def provider_networks(self) -> tuple[Network, ...]:
        """`provider_egress_allow` as networks. Raises ValueError, naming the entry."""
        return tuple(ipaddress.ip_network(text) for text in self.provider_egress_allow)
