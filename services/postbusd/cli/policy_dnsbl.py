"""The DNSBLs of `postbus policy`."""

import argparse
from typing import Any

from postbusd.cli.objects import UsageError


def add_dnsbl_options(parser: argparse.ArgumentParser) -> None:
    """Which lists are asked, and what a hit means."""
    parser.add_argument(
        "--add-dnsbl", action="append", default=[], metavar="ZONE", help="ask this list too, or in another way"
    )
    parser.add_argument("--remove-dnsbl", action="append", default=[], metavar="ZONE", help="ask it no more")
    parser.add_argument(
        "--dnsbl-mode", choices=("refuse", "score"), default="score", help="of the added ones: what a hit means"
    )
    parser.add_argument("--dnsbl-score", type=float, default=2.0, metavar="N", help="that a hit adds in mode score")
    parser.add_argument(
        "--dnsbl-lookup", default="", metavar="URL", help="told to who is refused; {address} is the client's"
    )


def dnsbl_change(args: argparse.Namespace, before: list[Any]) -> dict[str, Any]:
    """The part of a merge patch that these options ask for."""
    if not args.add_dnsbl and not args.remove_dnsbl:
        return {}
    gone = {zone.lower() for zone in args.remove_dnsbl}
    absent = sorted(gone - {each["zone"] for each in before})
    if absent:
        raise UsageError(f"--remove-dnsbl: {absent[0]} is not on the list")
    added = [
        {"zone": zone.lower(), "mode": args.dnsbl_mode, "score": args.dnsbl_score, "lookup_url": args.dnsbl_lookup}
        for zone in args.add_dnsbl
    ]
    gone |= {each["zone"] for each in added}
    return {"dnsbls": [each for each in before if each["zone"] not in gone] + added}


def format_dnsbls(dnsbls: list[Any]) -> str:
    """In one line."""
    modes = {"refuse": "refuses", "score": "adds {score:g}"}
    return ", ".join(f"{each['zone']} {modes[each['mode']].format(**each)}" for each in dnsbls) or "none"
