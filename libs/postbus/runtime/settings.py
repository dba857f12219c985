"""Settings: one frozen Struct per service, from POSTBUS_<SERVICE>_<FIELD> or …_FILE (house-style §6)."""

from typing import Annotated

import msgspec


def field_doc(text: str) -> msgspec.Meta:
    """Describes a settings field; docs/configuration.md is generated from it."""
    return msgspec.Meta(description=text)


class RuntimeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every process reads: POSTBUS_RUNTIME_<FIELD>."""

    data_dir: Annotated[str, field_doc("Folder for blobs, spool, search index and internal sockets.")] = (
        "/var/lib/postbus"
    )
    mail_host: Annotated[str, field_doc("Host name of this installation: banner, Received, authserv-id.")] = (
        "mail.demo.example"
    )
    resolver: Annotated[str, field_doc("DNS server HOST:PORT that every check uses; empty: the system's.")] = ""
    secrets_dir: Annotated[
        str, field_doc("Folder of secret files: postgres-<service>, nats-<service>, master.key.")
    ] = "/run/secrets"
    nats_url: Annotated[str, field_doc("NATS server.")] = "nats://127.0.0.1:4222"
    postgres_dsn: Annotated[str, field_doc("Postgres, without user and password: each service has its own role.")] = ""
    rpc_seconds: Annotated[float, field_doc("Deadline of a call between services, seconds.")] = 10.0
    drain_seconds: Annotated[float, field_doc("How long a service may finish its work on SIGTERM, seconds.")] = 20.0
    disk_reserve_octets: Annotated[int, field_doc("Free space below which mail is refused with 452, octets.")] = (
        256 * 1024 * 1024
    )
