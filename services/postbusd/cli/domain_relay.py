"""The smart host of a domain: options of `postbus domain set`, presets, tests."""

import argparse
from typing import Any

from postbusd.cli.api import ApiClient, path_of
from postbusd.cli.common import clean, format_facts, format_table
from postbusd.cli.objects import Noun, Session, UsageError, show
from postbusd.cli.secrets_options import STDIN_HELP, read_password_line

PORTS = {"starttls": 587, "tls": 465, "none": 25}
TEST_SECONDS = 60.0
PLAIN_WARNING = "Mail to this relay travels in plain text: anybody on the way reads it."
_NEED_A_RELAY = ("relay_security", "relay_username", "relay_password_stdin")


def add_relay_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    group = parser.add_argument_group("smart host of outgoing mail")
    which = group.add_mutually_exclusive_group()
    which.add_argument("--relay", metavar="HOST[:PORT]", help="send its outgoing mail there")
    which.add_argument("--relay-preset", metavar="NAME", help="a provider's host: see `postbus domain relay-presets`")
    which.add_argument("--no-relay", action="store_true", help="send it to the recipients' MX")
    group.add_argument("--relay-region", metavar="REGION", help="of a preset that has several")
    group.add_argument(
        "--relay-security", choices=tuple(PORTS), help="starttls (587), tls (465), none (25, never with a password)"
    )
    group.add_argument("--relay-username", metavar="NAME", help="log in with this name; '' for no login")
    group.add_argument("--relay-password-stdin", action="store_true", help=f"{STDIN_HELP}; without it, it is kept")


def add_relay_verbs(noun: Noun) -> None:
    """`relay-presets` and `relay-test`."""
    presets = noun.verb("relay-presets", run_presets, "providers of outgoing mail", "With what to set up there.")
    presets.add_argument("name", nargs="?", help="one of them, with its steps")
    test = noun.verb(
        "relay-test",
        run_test,
        "test the smart host of a domain",
        "Connects, logs in and tries two senders; sends nothing unless --recipient is given. Exit code 3 unless all is "
        "well.",
        seconds=TEST_SECONDS,
    )
    test.add_argument("name", help="the domain's name")
    test.add_argument("--recipient", default="", metavar="A", help="send two short messages to this address")


def run_presets(session: Session, args: argparse.Namespace) -> int:
    """Lists the presets, or shows one."""
    presets = load_presets(session.api)
    if args.name is None:
        rows = [[each["name"], each["title"], each["host"], str(each["port"]), each["security"]] for each in presets]
        return show(args, presets, format_table(["PRESET", "PROVIDER", "HOST", "PORT", "SECURITY"], rows))
    preset = _find_preset(presets, args.name)
    facts = [
        ("provider", preset["title"]),
        ("host", f"{preset['host']}:{preset['port']} ({preset['security']})"),
        ("regions", " ".join(each or "(none)" for each in preset["regions"]) or "–"),
        ("login", (preset["username"] or "one's own") if preset["login"] else "none"),
        ("SPF", f"include:{preset['spf']}" if preset["spf"] else "–"),
    ]
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(preset["steps"], 1))
    return show(args, preset, f"{format_facts(facts)}\n\n{steps}")


def run_test(session: Session, args: argparse.Namespace) -> int:
    """Prints a line a stage."""
    path = path_of("domains", args.name, "relay", "test")
    report = session.api.post(path, {"recipient": args.recipient})
    lines = [format_relay_report(report), "all is well" if report["ok"] else "not usable as it is"]
    show(args, report, "\n".join(lines))
    return 0 if report["ok"] else 3


def format_relay_report(report: Any) -> str:
    """A table, with the advice below."""
    rows = [
        [step["stage"].replace("_", " "), "ok" if step["ok"] else "FAILED", f"{step['milliseconds']} ms", step["reply"]]
        for step in report["steps"]
    ]
    advice = dict.fromkeys(clean(step["advice"]) for step in report["steps"] if step["advice"])
    return "\n".join([format_table(["STAGE", "", "TOOK", "REPLY"], rows, right=frozenset({2})), *advice])


def load_presets(api: ApiClient) -> list[Any]:
    """What the API knows."""
    found: list[Any] = api.get(path_of("relay-presets"))["relay_presets"]
    return found


def _find_preset(presets: list[Any], name: str) -> Any:
    for preset in presets:
        if preset["name"] == name:
            return preset
    raise UsageError(f"there is no preset {name}; there are {', '.join(each['name'] for each in presets)}")


def use_preset(api: ApiClient, args: argparse.Namespace) -> None:
    """Puts what the preset says in place of --relay, --relay-security and --relay-username. Raises UsageError."""
    if args.relay_preset is None:
        if args.relay_region is not None:
            raise UsageError("--relay-region goes with --relay-preset")
        return
    preset = _find_preset(load_presets(api), args.relay_preset)
    regions = preset["regions"]
    if args.relay_region is not None and not regions:
        raise UsageError(f"{args.relay_preset} has no regions")
    region = args.relay_region if args.relay_region is not None else regions[0] if regions else ""
    host = preset["host"].replace("{region}", region).replace("{domain}", args.name.lower().replace(".", "-"))
    args.relay = f"{host}:{preset['port']}"
    args.relay_security = args.relay_security or preset["security"]
    if preset["username"] and args.relay_username is None:
        args.relay_username = preset["username"]
    if preset["login"] and not args.relay_username:
        raise UsageError(f"{preset['title']} wants a login: --relay-username and --relay-password-stdin")


def relay_change(args: argparse.Namespace, present: Any) -> dict[str, object]:  # Any: the API's relay or None
    """The field `relay` as the options want it; empty: leave it as it is. Raises UsageError, StartError."""
    if args.no_relay:
        if any(getattr(args, name) for name in _NEED_A_RELAY):
            raise UsageError("--no-relay goes with no other relay option")
        return {"relay": None}
    wanted = args.relay is not None or args.relay_username is not None
    if not wanted and not any(getattr(args, name) for name in _NEED_A_RELAY):
        return {}
    if args.relay is None and present is None:
        raise UsageError("the domain has no relay: say --relay HOST[:PORT]")
    relay: dict[str, object] = _same_or_new(args, dict(present or {}))
    if args.relay_security is not None:
        relay["security"] = args.relay_security
    if args.relay_username is not None:
        relay["username"] = args.relay_username
    if args.relay_password_stdin:
        relay["password"] = read_password_line()
    elif relay.get("username") and not _is_same_login(relay, present):
        raise UsageError("a new relay login needs its password: --relay-password-stdin")
    return {"relay": relay}


def _same_or_new(args: argparse.Namespace, relay: dict[str, object]) -> dict[str, object]:
    """The relay that --relay names; the login of another host is not carried over."""
    if args.relay is None:
        return relay
    security = args.relay_security or "starttls"
    host, port = split_relay(args.relay)
    username = relay["username"] if relay and relay["host"] == host else ""
    return {"host": host, "port": port or PORTS[security], "security": security, "username": username}


def _is_same_login(relay: dict[str, object], present: Any) -> bool:
    """Whether directory keeps the password: it does for the same host and username."""
    return present is not None and all(relay[name] == present[name] for name in ("host", "username"))


def split_relay(text: str) -> tuple[str, int]:
    """HOST and PORT, 0 where none is given; an IPv6 address stands in brackets. Raises UsageError."""
    host, found, port = text.rpartition(":")
    if not found or text.endswith("]"):
        host, port = text, "0"
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535 or (":" in host and host[0] != "["):
        raise UsageError("--relay: HOST or HOST:PORT")
    return host.strip("[]"), int(port)


def format_relay(relay: Any) -> str:  # Any: the API's relay or None
    """The way out for people."""
    if relay is None:
        return "by MX"
    user = f" as {relay['username']}" if relay["username"] else ""
    host = f"[{relay['host']}]" if ":" in relay["host"] else relay["host"]
    return f"by {host}:{relay['port']} ({relay['security']}){user}"
