"""Who may publish and hear what on NATS: the table of architecture §2 as subject permissions (§6).

Every service has a user of its name and an inbox prefix of its own, `_INBOX_<service>`, so that nobody reads another's
answers. Only smtp-edge and delivery publish `mail.accepted`, only smtp-edge counts rates; nobody administers streams
but the migrator's user, and delivery may purge (trim) MAIL.
"""

import msgspec

from postbus.bus.subjects import (
    CONSUMER_ADMIN_API,
    CONSUMER_DELIVERY,
    CONSUMER_FILTER,
    STREAM_EVENT,
    STREAM_MAIL,
    STREAM_TRAINED,
    SUBJECT_CERTIFICATE_CHANGED,
    SUBJECT_DIRECTORY_CHANGED,
    SUBJECT_EVENT_ALL,
    SUBJECT_FOLDER_CHANGED,
    SUBJECT_INDEX_WANTED,
    SUBJECT_MAIL_ACCEPTED,
    SUBJECT_MAIL_TRAINED,
    SUBJECT_RATE_ALL,
)
from postbus.runtime.roster import SERVICES


class Permissions(msgspec.Struct, frozen=True, kw_only=True):
    """Subjects that a NATS user may publish and subscribe to."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def inbox_prefix(service: str) -> str:
    """The prefix of a service's reply subjects."""
    return f"_INBOX_{service}"


def service_permissions() -> dict[str, Permissions]:
    """The permissions of every service's user."""
    return {service: _permissions(service) for service in SERVICES}


_EVERYBODY_HEARS = (SUBJECT_DIRECTORY_CHANGED, SUBJECT_CERTIFICATE_CHANGED)
_EVERYBODY_PUBLISHES = (SUBJECT_EVENT_ALL, "$JS.API.INFO")

_FOLDERS = f"{SUBJECT_FOLDER_CHANGED}.>"

_PUBLISHES: dict[str, tuple[str, ...]] = {
    "smtp-edge": (SUBJECT_MAIL_ACCEPTED, SUBJECT_RATE_ALL),
    "delivery": (SUBJECT_MAIL_ACCEPTED, SUBJECT_MAIL_TRAINED, _FOLDERS, SUBJECT_INDEX_WANTED),
    "imap-gateway": (_FOLDERS, SUBJECT_INDEX_WANTED),
    "directory": (SUBJECT_DIRECTORY_CHANGED,),
    "dns-provisioner": (SUBJECT_CERTIFICATE_CHANGED,),
    "indexer": (SUBJECT_INDEX_WANTED,),
}
_HEARS: dict[str, tuple[str, ...]] = {
    "imap-gateway": (_FOLDERS,),
    "indexer": (SUBJECT_INDEX_WANTED,),
}
_CONSUMES = {
    "delivery": (STREAM_MAIL, CONSUMER_DELIVERY),
    "filter": (STREAM_TRAINED, CONSUMER_FILTER),
    "admin-api": (STREAM_EVENT, CONSUMER_ADMIN_API),
}


def _permissions(service: str) -> Permissions:
    publish = (*_EVERYBODY_PUBLISHES, *_PUBLISHES.get(service, ()))
    consumed = _CONSUMES.get(service)
    if consumed is not None:
        publish += _consumer_subjects(*consumed)
    if service == "delivery":
        publish += (
            f"$JS.API.STREAM.PURGE.{STREAM_MAIL}",
            f"$JS.API.STREAM.MSG.GET.{STREAM_MAIL}",
            f"$JS.API.DIRECT.GET.{STREAM_MAIL}",
        )
    hears = (*_EVERYBODY_HEARS, *_HEARS.get(service, ()), f"{inbox_prefix(service)}.>")
    return Permissions(publish=publish, subscribe=hears)


def _consumer_subjects(stream: str, consumer: str) -> tuple[str, ...]:
    """What reading an existing durable pull consumer takes (NATS ADR-1)."""
    return (
        f"$JS.API.STREAM.INFO.{stream}",
        f"$JS.API.CONSUMER.INFO.{stream}.{consumer}",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}",
        f"$JS.ACK.{stream}.{consumer}.>",
    )
