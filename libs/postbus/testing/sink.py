"""A mail server on loopback that takes everything and remembers which messages it got, each with how often."""

import contextlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from postbus.testing.postfix import free_port

_QUEUE_ID = re.compile(rb"^Received:(?:[^\r\n]|\r\n[ \t])*?\bid ([0-9A-Z]{26})\b", re.MULTILINE)
_MESSAGE_ID = re.compile(rb"^Message-ID: <([^>]*)>", re.MULTILINE | re.IGNORECASE)
TAKEN = "250 2.0.0 taken"


class Sink:
    """What came, by Message-ID; `answer` may refuse a recipient by an SMTP reply."""

    def __init__(self) -> None:
        self.messages: Counter[str] = Counter()
        self.queue_ids: Counter[str] = Counter()
        """Of the sender's installation, by the topmost Received field."""
        self.contents: dict[str, bytes] = {}
        self.port = 0
        self.answer: Callable[[str], str] = lambda _: "250 2.1.5 ok"
        self._came = threading.Condition()

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """RCPT TO."""
        reply = self.answer(address)
        if reply.startswith("2"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """The end of DATA."""
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        found = _MESSAGE_ID.search(content)
        message_id = found[1].decode() if found else ""
        received = _QUEUE_ID.search(content)
        with self._came:
            if received is not None:
                self.queue_ids[received[1].decode()] += 1
            self.messages[message_id] += 1
            self.contents[message_id] = content
            self._came.notify_all()
        return TAKEN

    def wait(self, wanted: set[str], seconds: float) -> None:
        """Until all of these have come."""
        with self._came:
            missing = self._came.wait_for(lambda: wanted <= set(self.messages), seconds)
        assert missing, f"did not come: {sorted(wanted - set(self.messages))[:5]}"


@contextlib.contextmanager
def running_sink() -> Iterator[Sink]:
    """A sink on a free port while the block runs, on a thread of its own."""
    sink = Sink()
    sink.port = free_port()
    controller = Controller(sink, hostname="127.0.0.1", port=sink.port, enable_SMTPUTF8=True)
    controller.start()
    try:
        yield sink
    finally:
        controller.stop()
