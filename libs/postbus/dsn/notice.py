"""The part for people (RFC 3464 §2): who did not get the message, why, and what to do, on one screen."""

import re
import textwrap
from typing import Final

from postbus.dsn.fields import clean_address, clean_text, format_date
from postbus.dsn.values import FailedRecipient, Report
from postbus.mime.headers import decode_value, unfold

WIDTH: Final = 72
MAX_SHOWN_RECIPIENTS: Final = 10
"""The others stand in the part for programs."""

_LEADS: Final = {
    "failed": (
        "Your message could not be delivered to the following recipient{s}. This is final: it will not be tried again."
    ),
    "delayed": (
        "Your message has not yet been delivered to the following recipient{s}. You need not do anything: "
        "delivery is tried again."
    ),
    "delivered": "Your message was delivered to the following recipient{s}.",
    "relayed": (
        "Your message was handed over for the following recipient{s} to a system that does not confirm deliveries. "
        "There will be no further news of it, unless it fails."
    ),
    "expanded": "Your message was passed on to all the addresses behind the following recipient{s}.",
}
_ORDER: Final = ("failed", "delayed", "delivered", "relayed", "expanded")

_REASONS: Final = (
    (re.compile(r"[45]\.1\.[12346]"), "The address does not exist."),
    (re.compile(r"[45]\.1\.10"), "The domain takes no mail."),
    (re.compile(r"[45]\.2\.1"), "The mailbox is switched off."),
    (re.compile(r"[45]\.2\.2"), "The mailbox is full."),
    (re.compile(r"[45]\.(?:2\.3|3\.4)"), "The message is too large for the recipient's system."),
    (re.compile(r"[45]\.4\.7"), "The recipient's system could not be reached for so long that delivery was given up."),
    (re.compile(r"[45]\.4\.6"), "The message ran in circles between mail systems."),
    (re.compile(r"[45]\.4\.\d+"), "The recipient's system could not be reached."),
    (re.compile(r"[45]\.6\.\d+"), "The recipient's system can't handle the form of the message."),
    (re.compile(r"[45]\.7\.\d+"), "The recipient's system does not accept this message by its policy."),
    (re.compile(r"5\..*"), "The recipient's system refused the message."),
    (re.compile(r"4\..*"), "The recipient's system did not accept the message yet."),
)
_OBJECTED: Final = (
    "The text above says what the other side objects to. If it is not clear, ask its postmaster or yours."
)
_ADVICE: Final = (
    (
        re.compile(r"[45]\.1\.\d+"),
        "Check the address for a typing mistake and send the message again, or ask the recipient in another way.",
    ),
    (re.compile(r"[45]\.2\.2"), "Tell the recipient in another way, or send the message again in a few days."),
    (re.compile(r"[45]\.(?:2\.3|3\.4)"), "Send a smaller message, for example with a link in place of an attachment."),
    (re.compile(r"[45]\.7\.\d+"), _OBJECTED),
    (
        re.compile(r"4\..*|5\.4\.7"),
        "Send the message again later, or reach the recipient in another way.",
    ),
    (re.compile(r"5\..*"), "If the reason is not clear, ask your postmaster and quote this notice."),
)


def write_notice(report: Report, statuses: tuple[str, ...]) -> str:
    """The text, LF line ends; `statuses` go with `report.recipients`."""
    paragraphs = [f"This is the mail system at {clean_text(report.reporting_mta)}."]
    left = MAX_SHOWN_RECIPIENTS
    for action in _ORDER:
        found = [pair for pair in zip(report.recipients, statuses, strict=True) if pair[0].action == action]
        if found:
            paragraphs.append(_fill(_LEADS[action].format(s="s" if len(found) > 1 else "")))
            paragraphs += [_recipient(recipient, status) for recipient, status in found[:left]]
            left = max(0, left - len(found))
    if len(report.recipients) > MAX_SHOWN_RECIPIENTS:
        more = len(report.recipients) - MAX_SHOWN_RECIPIENTS
        paragraphs.append(_fill(f"{more} more are listed in the delivery report that comes with this notice."))
    advice = _advice(report, statuses)
    if advice:
        paragraphs.append("What you can do:\n" + "\n".join(_fill(line, "  - ", "    ") for line in advice))
    paragraphs.append(_describe_original(report))
    return "\n\n".join(paragraphs) + "\n"


def explain(recipient: FailedRecipient, status: str) -> str:
    """Why, in one sentence; a reason that only repeats the reply is none."""
    if recipient.reason and recipient.reason != recipient.diagnostic:
        return _sentence(clean_text(recipient.reason))
    if recipient.action not in {"failed", "delayed"}:
        return ""
    return next((text for pattern, text in _REASONS if pattern.fullmatch(status)), "")


def _sentence(text: str) -> str:
    """With a capital (names of hosts keep theirs) and a full stop."""
    first = text.partition(" ")[0]
    text = text if "." in first else f"{text[:1].upper()}{text[1:]}"
    return text if text.endswith((".", "!", "?", ")")) else f"{text}."


def original_field(header: bytes, name: bytes) -> bytes:
    """The unfolded value of the first field of a header section; empty: there is none."""
    found = re.search(
        rb"^" + re.escape(name) + rb"[ \t]*:((?:[^\r\n]|\r?\n[ \t])*)", header, re.IGNORECASE | re.MULTILINE
    )
    return unfold(found[1]) if found else b""


def _recipient(recipient: FailedRecipient, status: str) -> str:
    lines = [f"<{clean_address(recipient.final_recipient, True)}>"]
    reason = explain(recipient, status)
    if reason:
        lines.append(_fill(reason, "    ", "    "))
    if recipient.diagnostic:
        host = clean_text(recipient.remote_mta, 255) or "The other side"
        lines.append(_fill(f"{host} said: {clean_text(recipient.diagnostic)}", "    ", "    "))
    if recipient.action == "delayed" and recipient.retry_until_ms:
        lines.append(f"    It is tried until {format_date(recipient.retry_until_ms)}.")
    return "\n".join(lines)


def _advice(report: Report, statuses: tuple[str, ...]) -> list[str]:
    """Without doubles, in the order of the recipients."""
    failed = (pair for pair in zip(report.recipients, statuses, strict=True) if pair[0].action == "failed")
    found = (_advise(status, answered=bool(item.diagnostic)) for item, status in failed)
    return [text for text in dict.fromkeys(found) if text]


def _advise(status: str, *, answered: bool) -> str:
    """What to do; where no other side `answered`, the advice on its objections is left out."""
    fitting = (text for pattern, text in _ADVICE if pattern.fullmatch(status))
    return next((text for text in fitting if answered or text is not _OBJECTED), "")


def _describe_original(report: Report) -> str:
    lines = ["Your message:"]
    subject = clean_text(decode_value(original_field(report.original_header, b"subject")), 200)
    if subject:
        lines.append(_fill(subject, "  Subject:  ", "            "))
    lines.append(f"  Accepted: {format_date(report.arrival_ms)}")
    lines.append(f"  Queue id: {clean_text(report.queue_id, 100)}")
    return "\n".join(lines)


def _fill(text: str, first: str = "", rest: str = "") -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
