"""`postbus me`: whom the API token or session speaks for; one's own password, second factor and sessions."""

import argparse
import getpass
import sys
from typing import Any

from postbus.runtime.layout import StartError
from postbusd.cli.api import path_of
from postbusd.cli.common import format_facts, format_table
from postbusd.cli.login import ask_secret
from postbusd.cli.objects import Noun, Session, Subparsers, print_json, show
from postbusd.cli.secrets_options import STDIN_HELP, ask_password, read_password_line
from postbusd.cli.times import format_moment


def add_parser(subparsers: Subparsers) -> None:
    """Registers the commands."""
    noun = Noun(subparsers, "me", "whom the token speaks for, the own password", __doc__ or "")
    noun.verb("show", run_show, "show whom the token speaks for")
    change = noun.verb("password", run_password, "change one's own password", "Asks for it on a terminal.")
    change.add_argument(
        "--stdin", action="store_true", help="read the current and the new password from standard input, a line each"
    )

    noun.verb("sessions", run_sessions, "list one's sessions")
    noun.verb("logins", run_logins, "list one's recent logins", "Of mailboxes and at the API, the latest first.")
    end = noun.verb("end-session", run_end_session, "end one of one's sessions")
    end.add_argument("session_id", help="as the list of sessions names it")
    second = noun.verb(
        "second-factor",
        run_second_factor,
        "show one's second factor, or switch it on or off",
        "Codes of an authenticator app (TOTP) beside the password; mail programs then need app passwords.",
    )
    second.add_argument("state", nargs="?", choices=("on", "off"), help="on: begin one; off: end it")
    second.add_argument("--password-stdin", action="store_true", help=STDIN_HELP)
    second.add_argument("--code", default="", metavar="CODE", help="with on: what the app shows with the secret")


def run_show(session: Session, args: argparse.Namespace) -> int:
    """Shows who one is."""
    me = session.api.get(path_of("me"))
    facts = [
        ("actor", me["actor"]),
        ("role", _role(me)),
        ("mailboxes", ", ".join(me["mailboxes"]) or "–"),
        ("token", me["token_name"]),
        ("scopes", " ".join(me["scopes"])),
        ("expires", format_moment(me["expires_ms"])),
    ]
    return show(args, me, format_facts(facts))


def _role(me: Any) -> str:
    if me["superadmin"]:
        return "superadmin"
    return f"admin of {', '.join(me['admin_of'])}" if me["admin_of"] else "user"


def run_password(session: Session, args: argparse.Namespace) -> int:
    """Changes the own password."""
    if args.stdin:
        current, new = read_password_line(), read_password_line()
    elif sys.stdin.isatty():
        current, new = getpass.getpass("Current password: "), ask_password("the new one")
    else:
        raise StartError("say where the passwords come from: --stdin")
    changed = session.api.put(path_of("me", "password"), {"current_password": current, "new_password": new})
    return show(args, changed, "changed" if changed["changed"] else "it is this one already")


def run_sessions(session: Session, args: argparse.Namespace) -> int:
    """Lists the own sessions."""
    found = session.api.get(path_of("me", "sessions"))["sessions"]
    rows = [
        [
            each["session_id"],
            each["method"],
            each["client_address"],
            each["user_agent"] or "–",
            format_moment(each["begun_ms"]),
            format_moment(each["last_used_ms"]),
            "this one" if each["current"] else "",
        ]
        for each in found
    ]
    return show(args, found, format_table(["SESSION", "BY", "FROM", "PROGRAM", "BEGUN", "LAST USED", ""], rows))


def run_logins(session: Session, args: argparse.Namespace) -> int:
    """Lists recent logins."""
    found = session.api.get(path_of("me", "logins"))["logins"]
    rows = [
        [
            format_moment(each["at_ms"]),
            "yes" if each["succeeded"] else "no",
            each["account"],
            each["service"],
            each["client_address"] or "–",
            each["detail"] or "–",
        ]
        for each in found
    ]
    return show(args, found, format_table(["AT", "IN", "ACCOUNT", "AT SERVICE", "FROM", "DETAIL"], rows))


def run_end_session(session: Session, args: argparse.Namespace) -> int:
    """Ends one."""
    ended = session.api.delete(path_of("me", "sessions", args.session_id))
    return show(args, ended, f"ended: {', '.join(ended['deleted'])}")


def run_second_factor(session: Session, args: argparse.Namespace) -> int:
    """Shows it, begins it, puts it in force, ends it."""
    path = path_of("me", "second-factor")
    if args.state is None:
        found = session.api.get(path)
        text = f"on since {format_moment(found['since_ms'])}, {found['recovery_codes']} recovery codes left"
        return show(args, found, text if found["on"] else "off")
    if args.state == "on" and args.code:
        return _put_in_force(session, args, args.code)
    password = read_password_line() if args.password_stdin else ask_secret("Current password: ", "--password-stdin")
    body: dict[str, object] = {"current_password": password}
    if args.state == "off":
        ended = session.api.post(f"{path}/remove", body)
        return show(args, ended, "off")
    begun = session.api.post(path, body)
    if args.json:
        print_json(begun)
        return 0
    print(format_facts([("secret", begun["secret"]), ("URI", begun["otpauth_uri"])]))
    if sys.stdin.isatty():
        return _put_in_force(session, args, ask_secret("What the app shows now: ", "--code"))
    print("Give it to an authenticator app, then: postbus me second-factor on --code CODE")
    return 0


def _put_in_force(session: Session, args: argparse.Namespace, code: str) -> int:
    told = session.api.put(path_of("me", "second-factor"), {"code": code})
    lines = ["on. Recovery codes, each opens once, not shown again:", *(f"  {each}" for each in told["recovery_codes"])]
    return show(args, told, "\n".join(lines))
