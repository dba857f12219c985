"""What people read about settings: docs/configuration.md and the commented postbus.env, both from the Structs."""

import enum
import typing
from collections.abc import Sequence
from typing import Any

import msgspec

from postbus.runtime.settings import type_word, variable_prefix


class SettingDoc(msgspec.Struct, frozen=True, kw_only=True):
    """One setting for people."""

    name: str
    kind: str
    default: str
    description: str


def describe_settings(service: str, kind: type[msgspec.Struct]) -> list[SettingDoc]:
    """The settings of a service in the order of its fields."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return [
        SettingDoc(
            name=variable_prefix(service) + field.name.upper(),
            kind=type_word(hints[field.name]),
            default=_default(field),
            description=_description(hints[field.name]),
        )
        for field in msgspec.structs.fields(kind)
    ]


def format_configuration(kinds: Sequence[tuple[str, type[msgspec.Struct]]]) -> str:
    """The text of docs/configuration.md for (service, settings) pairs."""
    parts = [_HEAD]
    for service, kind in kinds:
        purpose = (kind.__doc__ or "").strip().splitlines()[0]
        rows = [
            f"| `{doc.name}` | {doc.kind} | {f'`{_cell(doc.default)}`' if doc.default else 'empty'} | "
            f"{_cell(doc.description)} |"
            for doc in describe_settings(service, kind)
        ]
        parts.append(
            f"\n## {service}\n\n{purpose}\n\n| setting | type | default | meaning |\n| --- | --- | --- | --- |\n"
        )
        parts.append("".join(f"{row}\n" for row in rows) if rows else "| – | | | no settings |\n")
    return "".join(parts)


def format_env_template(kinds: Sequence[tuple[str, type[msgspec.Struct]]]) -> str:
    """A postbus.env with every setting commented out at its default."""
    lines = [
        "# Settings of this installation, read at every start. Remove the # before a line to change it.",
        "# NAME_FILE=/path instead of NAME=value reads the value from a file.",
        "# `postbus check-config` tells whether everything is as it must be; docs/configuration.md explains.",
    ]
    for service, kind in kinds:
        lines += ["", f"# --- {service} ---"]
        for doc in describe_settings(service, kind):
            lines += [f"# {doc.description} ({doc.kind})", f"#{doc.name}={doc.default}"]
    return "\n".join(lines) + "\n"


_HEAD = """\
# Configuration

Generated from the settings of the services; do not edit. A setting is an environment variable, or a line of
`postbus.env` in the data folder (`postbus up` reads it). `NAME_FILE=/path` reads the value of `NAME` from a file:
use it for secrets. Lists are written with commas. Unknown names are refused; `postbus check-config` reports every
problem at once. What administrators change at run time (domains, mailboxes, quotas) is data in directory.
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _description(hint: Any) -> str:
    metas = [meta for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]
    return next((meta.description for meta in metas if meta.description), "")


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return _format(field.default_factory())
    return "" if field.default is msgspec.NODEFAULT else _format(field.default)


def _format(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return str(value)
