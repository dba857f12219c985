"""The allow-list of architecture §2, §6 on NATS."""

from postbus.bus.subjects import (
    SUBJECT_CERTIFICATE_CHANGED,
    SUBJECT_DIRECTORY_CHANGED,
    SUBJECT_MAIL_ACCEPTED,
    SUBJECT_RATE_ALL,
)
from postbus.runtime.embedded.nats_permissions import inbox_prefix, service_permissions


def _publishers(subject: str) -> set[str]:
    return {name for name, permissions in service_permissions().items() if subject in permissions.publish}


def test_only_smtp_edge_and_delivery_publish_accepted_mail() -> None:
    assert _publishers(SUBJECT_MAIL_ACCEPTED) == {"smtp-edge", "delivery"}


def test_only_smtp_edge_counts_rates() -> None:
    assert _publishers(SUBJECT_RATE_ALL) == {"smtp-edge"}


def test_each_change_has_one_publisher() -> None:
    assert _publishers(SUBJECT_DIRECTORY_CHANGED) == {"directory"}
    assert _publishers(SUBJECT_CERTIFICATE_CHANGED) == {"dns-provisioner"}


def test_nobody_hears_anothers_answers() -> None:
    for name, permissions in service_permissions().items():
        inboxes = {subject for subject in permissions.subscribe if "INBOX" in subject}
        assert inboxes == {f"{inbox_prefix(name)}.>"}
        assert not {">", "*", "_INBOX.>"} & set(permissions.subscribe)


def test_nobody_administers_streams_but_delivery_trims_mail() -> None:
    for name, permissions in service_permissions().items():
        for verb in ("STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "CONSUMER.CREATE", "CONSUMER.DELETE"):
            assert not any(verb in subject for subject in permissions.publish), name
        purges = {subject for subject in permissions.publish if "PURGE" in subject}
        assert purges == ({"$JS.API.STREAM.PURGE.MAIL"} if name == "delivery" else set())
        assert not {">", "$JS.>", "$JS.API.>"} & set(permissions.publish)
