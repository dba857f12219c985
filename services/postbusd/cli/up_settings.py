"""postbus.env at the first start: every setting of every service, commented out at its default."""

import importlib

import msgspec

from postbus.runtime.layout import Layout, write_private
from postbus.runtime.roster import SERVICES
from postbus.runtime.settings import RuntimeSettings
from postbus.runtime.settings_docs import format_env_template

_HEAD = """\
# What `postbus up` decides by itself (its options, the data folder, Postgres, NATS) is not taken from here.
"""


def make_settings_file(layout: Layout) -> None:
    """Writes postbus.env. Raises OSError."""
    write_private(layout.settings_file, (_HEAD + format_env_template(settings_kinds())).encode("utf-8"))


def settings_kinds() -> list[tuple[str, type[msgspec.Struct]]]:
    """The settings of the runtime and of every service that is here, without importing the services themselves."""
    found: list[tuple[str, type[msgspec.Struct]]] = [("runtime", RuntimeSettings)]
    for service in SERVICES:
        name = f"postbusd.{service.replace('-', '_')}.settings"
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__module__ == name:
                found.append((service, value))
                break
    return found
