"""What of a domain other parts of the platform follow: location, signature, alternate MX, switches of its mailboxes."""

import argparse
import sys
from pathlib import Path
from typing import Any

from postbusd.cli.common import on_off
from postbusd.cli.objects import UsageError

SWITCHES = (
    ("all-mail", "on: its mailboxes have a folder with all their messages"),
    ("sharing", "on: its people may share folders"),
    ("search", "off: the text of its mail is not indexed"),
)


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """The options of `domain set`."""
    parser.add_argument(
        "--mail-host", metavar="NAME", help="where its MX points to and its people connect; '' for the policy's"
    )
    parser.add_argument(
        "--signature", metavar="FILE", help="text that goes under every message it sends, - for stdin; '' for none"
    )
    parser.add_argument("--signature-html", metavar="FILE", help="the same for HTML; '' to make it of the text")
    parser.add_argument(
        "--alternate-mx",
        metavar="A[,B]",
        help="hosts and networks that take its mail and pass it on to us; '' for none",
    )
    for name, what in SWITCHES:
        parser.add_argument(f"--{name}", choices=("on", "off"), help=what)


def server_change(args: argparse.Namespace, signature: Any) -> dict[str, object]:
    """The part of a merge patch that these options ask for; `signature` is the one there is."""
    changes: dict[str, object] = {}
    if args.mail_host is not None:
        changes["mail_host"] = args.mail_host
    if args.alternate_mx is not None:
        changes["alternate_mx"] = [each.strip() for each in args.alternate_mx.split(",") if each.strip()]
    for name, _ in SWITCHES:
        field = name.replace("-", "_")
        if getattr(args, field) is not None:
            changes[field] = getattr(args, field) == "on"
    if args.signature == "":
        if args.signature_html:
            raise UsageError("--signature-html: a signature needs a text too")
        changes["signature"] = None
    elif args.signature is not None or args.signature_html is not None:
        if signature is None and args.signature is None:
            raise UsageError("--signature-html: a signature needs a text too: --signature FILE")
        wanted = {"text": read_text("--signature", args.signature)} if args.signature is not None else {}
        if args.signature_html is not None:
            wanted["html"] = read_text("--signature-html", args.signature_html) if args.signature_html else ""
        changes["signature"] = wanted
    return changes


def read_text(option: str, path: str) -> str:
    """A file of text, `-` for standard input."""
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise UsageError(f"{option}: {path}: {reason}") from error


def server_facts(domain: Any) -> list[tuple[str, str]]:
    """For `domain show`."""
    signature = domain["signature"]
    facts = [("mail server", domain["mail_host"])] if domain["mail_host"] else []
    if signature is not None:
        lines = [line for line in signature["text"].split("\n") if line.strip(" -")] or ["--"]
        more = " …" if len(lines) > 1 else ""
        facts.append(("signature", f"{lines[0]}{more}{', HTML too' if signature['html'] else ''}"))
    facts += [("alternate MX", ", ".join(domain["alternate_mx"]))] if domain["alternate_mx"] else []
    return [
        *facts,
        ("all mail", on_off(domain["all_mail"])),
        ("sharing", on_off(domain["sharing"])),
        ("search", on_off(domain["search"])),
    ]
