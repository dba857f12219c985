"""One trace a message (promise 8), from SMTP accept through filter, delivery and store to index or remote 250."""

import uuid
from collections import Counter

from postbus.testing.collector import CollectedSpan, assert_connected
from postbus.testing.observed import DEFERRED, REFUSED, REMOTE, Observed
from postbus.testing.probes import HEAL_SECONDS


def span_of(observed: Observed, name: str, queue_id: str, **facts: str | int) -> CollectedSpan:
    """The span with that name about a message, once it has come."""
    wanted = {"queue_id": queue_id, **facts}
    return observed.collector.wait(
        lambda each: each.name == name and wanted.items() <= each.attributes.items(), HEAL_SECONDS
    )


def trace_of(observed: Observed, queue_id: str) -> str:
    """As the operator finds it: by the queue id."""
    traceparent: str = observed.run("trace", queue_id)["traceparent"]
    return traceparent.split("-")[1]


def parts(spans: list[CollectedSpan]) -> Counter[tuple[str, str]]:
    return Counter((each.service, each.name) for each in spans)


def parent_of(spans: list[CollectedSpan], child: CollectedSpan) -> str:
    return next(each.name for each in spans if each.span_id == child.parent_id)


def named(spans: list[CollectedSpan], name: str) -> list[CollectedSpan]:
    return [each for each in spans if each.name == name]


def test_a_message_for_a_mailbox_is_one_tree_from_mail_to_the_index(observed: Observed) -> None:
    local_part, _, domain = observed.platform.mailboxes[0][0].partition("@")
    queue_id = observed.receive(f"{local_part}+{uuid.uuid4().hex}@{domain}")  # in no cache of smtp-edge
    accepted = span_of(observed, "smtp.accept", queue_id)
    for name in ("directory.resolve", "filter.check_message", "mailstore.append", "indexer.index"):
        observed.collector.wait(
            lambda each, name=name: each.name == name and each.trace_id == accepted.trace_id,  # type: ignore[misc]
            HEAL_SECONDS,
        )
    span_of(observed, "delivery.deliver", queue_id, outcome="folder")
    spans = observed.collector.trace(accepted.trace_id)
    root = assert_connected(spans)
    assert root == accepted
    assert (root.attributes["outcome"], root.attributes["listener"]) == ("accepted", "smtp")
    assert parts(spans) == {
        ("smtp-edge", "smtp.accept"): 1,
        ("directory", "directory.resolve"): 1,
        ("filter", "filter.check_message"): 1,
        ("smtp-edge", "blobs.put"): 1,
        ("smtp-edge", "bus.publish_mail"): 1,
        ("delivery", "delivery.deliver"): 1,
        ("delivery", "mailstore.append"): 1,
        ("indexer", "indexer.index"): 1,
    }
    assert trace_of(observed, queue_id) == root.trace_id
    (indexed,) = named(spans, "indexer.index")
    assert parent_of(spans, indexed) == "delivery.deliver"
    assert indexed.attributes["mailbox_id"] == named(spans, "mailstore.append")[0].attributes["mailbox_id"]


def test_the_session_of_a_message_is_linked_and_has_its_id(observed: Observed) -> None:
    queue_id = observed.receive(observed.platform.mailboxes[0][0])
    accepted = span_of(observed, "smtp.accept", queue_id)
    ((trace_id, span_id),) = accepted.links
    session = observed.collector.wait(lambda each: each.span_id == span_id, HEAL_SECONDS)
    assert (session.name, session.trace_id) == ("smtp.session", trace_id)
    assert session.attributes["session_id"] == accepted.attributes["session_id"]
    assert_connected(observed.collector.trace(trace_id))


def test_messages_that_are_stored_together_have_a_tree_each(observed: Observed) -> None:
    one, other = (address for address, _ in observed.platform.mailboxes[:2])
    ids = [observed.receive(one, other) for _ in range(8)]
    for queue_id in ids:
        accepted = span_of(observed, "smtp.accept", queue_id)
        span_of(observed, "delivery.deliver", queue_id)
        for box in range(2):
            observed.collector.wait(
                lambda each, box=box, trace=accepted.trace_id: (
                    each.name == "indexer.index"  # type: ignore[misc]
                    and each.trace_id == trace
                    and len(named(observed.collector.trace(trace), "indexer.index")) > box
                ),
                HEAL_SECONDS,
            )
        spans = observed.collector.trace(accepted.trace_id)
        assert_connected(spans)
        assert len(named(spans, "delivery.deliver")) == 1
        assert [each.attributes["copies"] for each in named(spans, "mailstore.append")] == [2]
        assert len({each.attributes["mailbox_id"] for each in named(spans, "indexer.index")}) == 2


def test_a_message_for_another_host_ends_with_its_250(observed: Observed) -> None:
    queue_id = observed.submit(f"somebody@{REMOTE}")
    sent = span_of(observed, "delivery.attempt", queue_id, outcome="sent")
    span_of(observed, "smtp.accept", queue_id)
    spans = observed.collector.trace(sent.trace_id)
    root = assert_connected(spans)
    assert (root.name, root.attributes["listener"]) == ("smtp.accept", "submissions")
    assert parent_of(spans, sent) == "delivery.deliver"
    assert sent.attributes["reply_code"] == "250"
    assert (sent.attributes["remote_host"], sent.attributes["domain"]) == (f"mx.{REMOTE}", REMOTE)
    assert (sent.attributes["attempt"], sent.links) == (1, ())
    signed = named(spans, "dns_provisioner.get_dkim_keys") + named(spans, "dns-provisioner.get_dkim_keys")
    assert all(parent_of(spans, each) == "delivery.attempt" for each in signed)
    assert trace_of(observed, queue_id) == sent.trace_id


def test_a_retry_is_a_trace_of_its_own_linked_to_the_message(observed: Observed) -> None:
    queue_id = observed.submit(f"{DEFERRED}-1@{REMOTE}")
    first = span_of(observed, "delivery.attempt", queue_id, attempt=1)
    second = span_of(observed, "delivery.attempt", queue_id, attempt=2)
    assert (first.attributes["outcome"], first.attributes["reply_code"]) == ("deferred", "451")
    assert (second.attributes["outcome"], second.attributes["reply_code"]) == ("sent", "250")
    deliver = span_of(observed, "delivery.deliver", queue_id)
    assert first.trace_id == deliver.trace_id != second.trace_id
    assert second.links == ((deliver.trace_id, deliver.span_id),)
    assert assert_connected(observed.collector.trace(second.trace_id)) == second
    assert_connected(observed.collector.trace(first.trace_id))


def test_the_notice_about_a_failure_belongs_to_the_message(observed: Observed) -> None:
    queue_id = observed.submit(f"{REFUSED}@{REMOTE}")
    failed = span_of(observed, "delivery.attempt", queue_id, outcome="failed")
    notice = observed.collector.wait(
        lambda each: each.trace_id == failed.trace_id and each.attributes.get("origin") == "dsn", HEAL_SECONDS
    )
    observed.collector.wait(
        lambda each: each.name == "indexer.index" and each.trace_id == failed.trace_id, HEAL_SECONDS
    )
    spans = observed.collector.trace(failed.trace_id)
    assert_connected(spans)
    assert notice.attributes["queue_id"] != queue_id
    assert failed.attributes["reply_code"] == "550"


def test_the_command_line_shows_the_trace(observed: Observed) -> None:
    queue_id = observed.receive(observed.platform.mailboxes[0][0])
    accepted = span_of(observed, "smtp.accept", queue_id)
    span_of(observed, "delivery.deliver", queue_id)
    assert f"trace {accepted.trace_id}" in observed.show("trace", queue_id)


def test_nothing_that_came_was_not_understood(observed: Observed) -> None:
    assert observed.collector.faults == []
