"""Where a password comes from: the command line, standard input, a dice, or a person asked twice."""

import argparse
import getpass
import secrets
import sys

from postbus.runtime.layout import StartError

PASSWORD_OCTETS = 12
STDIN_HELP = "read the password from standard input"


def add_password_options(parser: argparse.ArgumentParser, *, each: str = "") -> None:
    """Adds --password, --password-stdin and --generate, of which one may be given."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--password", metavar="PASSWORD", help="the password; other users of this machine may see it")
    group.add_argument("--password-stdin", action="store_true", help=STDIN_HELP)
    group.add_argument(
        "--password-hash-stdin",
        action="store_true",
        help="read the password's hash by another system (bcrypt, SHA-512-crypt, SSHA, Argon2) from standard input",
    )
    group.add_argument("--generate", action="store_true", help=f"make up a password{each} and print it")


def make_password() -> str:
    """A random password of 96 bits."""
    return secrets.token_urlsafe(PASSWORD_OCTETS)


def password_changes(args: argparse.Namespace, generated: str) -> dict[str, object]:
    """The fields of a PUT or PATCH that the options stand for. Raises StartError."""
    if args.password_hash_stdin:
        return {"password_hash": read_password_line()}
    password = generated or given_password(args)
    return {} if password is None else {"password": password}


def given_password(args: argparse.Namespace) -> str | None:
    """What --password or --password-stdin gives; None: neither was said. Raises StartError."""
    if args.password is not None:
        return str(args.password)
    return read_password_line() if args.password_stdin else None


def read_password_line() -> str:
    """A password from standard input. Raises StartError when there is none."""
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise StartError("standard input holds no password")
    return password


def ask_password(whose: str) -> str:
    """Asks a person twice. Raises StartError without a terminal."""
    if not sys.stdin.isatty():
        raise StartError("say where the password comes from: --password-stdin, --generate or --password")
    password = getpass.getpass(f"Password for {whose}: ")
    if password != getpass.getpass("Once more: "):
        raise StartError("the passwords differ")
    return password
