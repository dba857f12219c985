"""One pass over a message: header fields, structure, envelope, dates, references, preview.

Refuses nothing: any octets give a Scan, in time linear in their number (times the bounded depth); what is wrong or over
a bound of `postbus.mime.limits` is named in `defects`. Bodies are never copied and encoded-words are left raw.
RFC 5322, RFC 2045, RFC 2046, RFC 2231, RFC 6532.
"""

from postbus.mime.dates import parse_date
from postbus.mime.envelope import build_envelope, build_references, message_ids
from postbus.mime.limits import Defect
from postbus.mime.parameters import DEFAULT_TYPE
from postbus.mime.preview import build_preview, has_attachment
from postbus.mime.sections import Content
from postbus.mime.structure import StructureScanner
from postbus.mime.values import Scan

__all__ = ["Content", "Defect", "scan_message"]


def scan_message(content: Content) -> Scan:
    """All that one pass finds in a message (`bytes` or an `mmap`); never raises."""
    defects: set[Defect] = set()
    end = len(content)
    root, section = StructureScanner(content, end, defects).scan_entity(0, DEFAULT_TYPE, 0)
    envelope = build_envelope(content, section, defects)
    sent = parse_date(envelope.date) if envelope.date else None
    if sent is None and envelope.date:
        defects.add(Defect.MALFORMED_DATE)
    own_ids = message_ids(envelope.message_id)
    return Scan(
        end,
        tuple(section.fields),
        root.body_start,
        root,
        envelope,
        build_references(content, section, envelope.in_reply_to, defects),
        own_ids[0] if own_ids else "",
        sent.ms if sent else None,
        sent.day if sent else None,
        has_attachment(root),
        build_preview(content, root),
        tuple(sorted(defect.value for defect in defects)),
    )
