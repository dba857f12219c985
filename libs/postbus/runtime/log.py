"""JSON log lines on stdout (house-style §7): one object a line, event names constant, facts as fields.

Services of one process log under their own names: the name travels in a context variable, like the trace and the
session. Tracebacks appear only for exceptions that nobody expected, in one field, with an incident id.
"""

import contextlib
import contextvars
import datetime
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import msgspec

from postbus.core.trace import current_trace

_service: contextvars.ContextVar[str] = contextvars.ContextVar("postbus_service", default="")
_session: contextvars.ContextVar[str] = contextvars.ContextVar("postbus_session", default="")

_OURS = ("postbus", "postbusd")
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_LEVELS = {"WARNING": "warning", "CRITICAL": "error"}
MAX_TRACEBACK_CHARACTERS = 8000


def current_service() -> str:
    """The service that the running code belongs to; empty: the process itself."""
    return _service.get()


def current_session() -> str:
    """The session that the running code serves; empty: none."""
    return _session.get()


@contextlib.contextmanager
def use_service(service: str) -> Iterator[None]:
    """Runs the block as `service`."""
    token = _service.set(service)
    try:
        yield
    finally:
        _service.reset(token)


@contextlib.contextmanager
def use_session(session_id: str) -> Iterator[None]:
    """Every line logged in the block carries `session_id`."""
    token = _session.set(session_id)
    try:
        yield
    finally:
        _session.reset(token)


def service_context(service: str) -> contextvars.Context:
    """A context of its own for a task of `service`: no trace, no session."""
    context = contextvars.Context()
    context.run(_service.set, service)
    return context


def new_incident() -> str:
    """What a person quotes and the log finds."""
    return os.urandom(6).hex()


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "ts": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": _LEVELS.get(record.levelname, record.levelname.lower()),
        }
        if record.name.partition(".")[0] in _OURS:
            line["event"] = record.getMessage()
        else:
            # A library's words are no constant.
            line |= {"event": "library.message", "logger": record.name, "text": record.getMessage()}
        line["service"] = _service.get() or "runtime"
        trace = current_trace()
        if trace is not None:
            line["trace_id"] = trace.trace_id
        if _session.get():
            line["session_id"] = _session.get()
        line |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[1] is not None:
            line.setdefault("incident", new_incident())
            text = "".join(traceback.format_exception(record.exc_info[1]))
            line["exception"] = text[-MAX_TRACEBACK_CHARACTERS:]
        return msgspec.json.encode(line, enc_hook=_encode_other).decode("utf-8")


def _encode_other(value: object) -> str:
    return str(value)


def set_up_logging(level: str) -> None:
    """Makes JSON lines on stdout the process's only log; libraries are heard from WARNING on."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())
    logging.captureWarnings(True)
