"""One JSON object a line, with the service, the trace and the session of the running code."""

import json
import logging
from typing import Any

from postbus.core.trace import new_trace, use_trace
from postbus.runtime.log import JsonFormatter, current_service, service_context, use_service, use_session


def line(
    name: str, message: str, level: int = logging.INFO, exc: Exception | None = None, **extra: Any
) -> dict[str, Any]:
    exc_info = (type(exc), exc, exc.__traceback__) if exc else None
    record = logging.LogRecord(name, level, __file__, 1, message, None, exc_info)
    record.__dict__.update(extra)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


def test_facts_are_fields_beside_the_event() -> None:
    with use_service("smtp-edge"), use_session("s1"), use_trace(new_trace()) as trace:
        found = line("postbusd.smtp_edge.app", "smtp.rcpt.rejected", queue_id="Q", octets=5, odd={1})
    assert found.pop("ts").endswith("+00:00")
    assert found == {
        "level": "info",
        "event": "smtp.rcpt.rejected",
        "service": "smtp-edge",
        "trace_id": trace.trace_id,
        "session_id": "s1",
        "queue_id": "Q",
        "octets": 5,
        "odd": [1],
    }


def test_outside_of_a_service_the_runtime_speaks() -> None:
    found = line("postbus.runtime.host", "host.ended")
    assert found["service"] == "runtime"
    assert "trace_id" not in found
    assert "session_id" not in found


def test_words_of_libraries_are_no_events() -> None:
    found = line("asyncio", "Task was destroyed", logging.ERROR)
    assert (found["event"], found["logger"], found["text"]) == ("library.message", "asyncio", "Task was destroyed")


def test_exceptions_have_an_incident_and_stay_on_one_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        found = line("postbus.x", "loop.failed", logging.ERROR, error)
        own = line("postbus.x", "loop.failed", logging.ERROR, error, incident="abc")
    assert len(found["incident"]) == 12
    assert "ValueError: two\nlines" in found["exception"]
    assert own["incident"] == "abc"


def test_values_that_json_does_not_know_become_text() -> None:
    assert line("postbus.x", "x", error=ValueError("no"))["error"] == "no"


def test_a_task_context_has_its_service_and_no_trace() -> None:
    with use_service("other"), use_trace(new_trace()):
        assert service_context("filter").run(current_service) == "filter"
