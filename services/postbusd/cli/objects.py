"""What `domain` and `mailbox` share: the API of a running installation, pages, JSON output."""

import argparse
import sys
from typing import Any

import msgspec

from postbus.runtime.layout import StartError
from postbus.runtime.supervisor_connection import read_connection
from postbusd.cli.api import ApiClient
from postbusd.cli.common import layout_from

MAX_PAGES = 10_000


def running_api(args: argparse.Namespace) -> ApiClient:
    """The API of the installation in --data-dir. Raises StartError."""
    connection = read_connection(layout_from(args))
    return ApiClient(connection.admin.url, connection.admin.token, connection.tls.ca_file)


def list_all(api: ApiClient, path: str, key: str, query: dict[str, str] | None = None) -> list[Any]:
    """All pages of a list. Raises StartError."""
    found: list[Any] = []
    after = ""
    for _ in range(MAX_PAGES):
        page = api.get(path, {**(query or {}), **({"after": after} if after else {})})
        found += page[key]
        after = page.get("next_after", "")
        if not after:
            return found
    raise StartError("the list does not end")


def print_json(value: object) -> None:
    """Prints a value as indented JSON."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value)) + b"\n")
