"""Settings of dns-provisioner: POSTBUS_DNS_PROVISIONER_<FIELD>."""

from typing import Annotated

import msgspec

from postbus.runtime.settings import field_doc


class DnsProvisionerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Names and lifetimes of the certificates that this installation makes itself."""

    extra_names: Annotated[
        tuple[str, ...], field_doc("DNS names and IP addresses in the server certificate besides mail_host.")
    ] = ()
    certificate_days: Annotated[int, field_doc("How long a server certificate is valid, days.")] = 90
    renew_before_days: Annotated[int, field_doc("How long before its end a certificate is replaced, days.")] = 30
    check_seconds: Annotated[float, field_doc("How often the certificates are looked at, seconds.")] = 3600.0

    def __post_init__(self) -> None:
        """Checks what single fields can't."""
        if not 1 <= self.certificate_days <= 825:
            raise ValueError("certificate_days: must be from 1 to 825")
        if not 0 < self.renew_before_days < self.certificate_days:
            raise ValueError("renew_before_days: must be less than certificate_days")
