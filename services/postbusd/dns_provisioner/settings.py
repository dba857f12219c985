"""Settings of dns-provisioner: POSTBUS_DNS_PROVISIONER_<FIELD>."""

from typing import Annotated, Final

import msgspec

from postbus.runtime.settings import field_doc

MAX_DNS_SECONDS: Final = 8.0
"""A plan is one call between services, and that has ten seconds."""


class DnsProvisionerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Names and lifetimes of the certificates that this installation makes itself; look-ups."""

    extra_names: Annotated[
        tuple[str, ...], field_doc("DNS names and IP addresses in the server certificate besides mail_host.")
    ] = ()
    certificate_days: Annotated[int, field_doc("How long a server certificate is valid, days.")] = 90
    renew_before_days: Annotated[int, field_doc("How long before its end a certificate is replaced, days.")] = 30
    check_seconds: Annotated[float, field_doc("How often the certificates are looked at, seconds.")] = 3600.0
    dns_seconds: Annotated[
        float, field_doc("How long the DNS may take to answer when a plan is compared, seconds.")
    ] = 5.0

    def __post_init__(self) -> None:
        """Checks what single fields can't."""
        if not 1 <= self.certificate_days <= 825:
            raise ValueError("certificate_days: must be from 1 to 825")
        if not 0 < self.renew_before_days < self.certificate_days:
            raise ValueError("renew_before_days: must be less than certificate_days")
        if not 0 < self.dns_seconds <= MAX_DNS_SECONDS:
            raise ValueError(f"dns_seconds: must be above 0, at most {MAX_DNS_SECONDS:g}")
