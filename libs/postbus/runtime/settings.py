"""Settings: one frozen Struct per service, from POSTBUS_<SERVICE>_<FIELD> or …_FILE (house-style §6).

This is the only module that reads the process's environment. A field's value is text: a string, a number, `true` or
`false`, or a list with commas; `…_FILE` names a file that holds the text (secrets). All problems are reported at once,
without the values, which may be secret. Names below POSTBUS_<SERVICE>_ that no field has are refused: a misspelt
setting must not be ignored.
"""

import enum
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

Settings = TypeVar("Settings", bound=msgspec.Struct)

PREFIX = "POSTBUS_"
FILE_SUFFIX = "_FILE"
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_TYPE_WORDS: dict[Any, str] = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def field_doc(text: str) -> msgspec.Meta:
    """Describes a settings field; docs/configuration.md is generated from it."""
    return msgspec.Meta(description=text)


class RuntimeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every process reads: POSTBUS_RUNTIME_<FIELD>."""

    data_dir: Annotated[str, field_doc("Folder for blobs, spool, search index and internal sockets.")] = (
        "/var/lib/postbus"
    )
    run_dir: Annotated[
        str, field_doc("Folder of sockets and process files, a path short enough for sockets; {data_dir} is replaced.")
    ] = "{data_dir}/run"
    blobs_dir: Annotated[str, field_doc("Folder of message bytes; {data_dir} is replaced.")] = "{data_dir}/blobs"
    mail_host: Annotated[str, field_doc("Host name of this installation: banner, Received, authserv-id.")] = (
        "mail.demo.example"
    )
    resolver: Annotated[str, field_doc("DNS server HOST:PORT that every check uses; empty: the system's.")] = ""
    secrets_dir: Annotated[
        str, field_doc("Folder of secret files: postgres-<service>, nats-<service>, master.key.")
    ] = "/run/secrets"
    nats_url: Annotated[str, field_doc("NATS server.")] = "nats://127.0.0.1:4222"
    nats_replicas: Annotated[int, field_doc("Replicas of the streams that `postbus migrate` makes.")] = 1
    postgres_dsn: Annotated[str, field_doc("Postgres, without user and password: each service has its own role.")] = ""
    postgres_pool_size: Annotated[int, field_doc("Connections that one service of one process opens at most.")] = 4
    postgres_seconds: Annotated[float, field_doc("Deadline of one database statement, seconds.")] = 30.0
    restore_id: Annotated[
        str,
        field_doc(
            "A text never used before, set for all services when the database was restored from a copy: folders skip "
            "the UIDs of the time that is lost, and the outgoing queue starts held. It acts once and may stay."
        ),
    ] = ""
    rpc_seconds: Annotated[float, field_doc("Deadline of a call between services, seconds.")] = 10.0
    rpc_listen: Annotated[
        str, field_doc("Where a service answers gRPC: unix:PATH or HOST:PORT; {run_dir}, {service} are replaced.")
    ] = "unix:{run_dir}/{service}.sock"
    rpc_target: Annotated[
        str, field_doc("Where the services of other processes answer gRPC; {run_dir}, {service} are replaced.")
    ] = "unix:{run_dir}/{service}.sock"
    observe_listen: Annotated[
        str, field_doc("HOST:PORT of /metrics, /healthz and /readyz, port 0: a free one; empty: off.")
    ] = "127.0.0.1:0"
    otlp_endpoint: Annotated[
        str, field_doc("OTLP/HTTP collector for traces, as http://collector:4318; empty: off.")
    ] = ""
    log_level: Annotated[str, field_doc("Lowest level logged: debug, info, warning or error.")] = "info"
    drain_seconds: Annotated[float, field_doc("How long a service may finish its work on SIGTERM, seconds.")] = 20.0
    die_with_parent: Annotated[bool, field_doc("Whether the process drains when its parent dies (Linux).")] = False
    disk_reserve_octets: Annotated[int, field_doc("Free space below which mail is refused with 452, octets.")] = (
        256 * 1024 * 1024
    )

    def __post_init__(self) -> None:
        """Checks what single fields can't."""
        if self.log_level.lower() not in ("debug", "info", "warning", "error"):
            raise ValueError("log_level: must be debug, info, warning or error")
        if self.postgres_pool_size < 1:
            raise ValueError("postgres_pool_size: must be at least 1")

    def expand(self, template: str, service: str = "") -> str:
        """A setting's text with {data_dir}, {run_dir} and {service} replaced."""
        run_dir = self.run_dir.replace("{data_dir}", self.data_dir)
        text = template.replace("{data_dir}", self.data_dir).replace("{run_dir}", run_dir)
        return text.replace("{service}", service)


class SettingProblem(msgspec.Struct, frozen=True):
    """A variable and what is wrong with it."""

    name: str
    reason: str

    def __str__(self) -> str:
        """`NAME: reason`."""
        return f"{self.name}: {self.reason}"


class SettingsError(Exception):
    """All that is wrong with the settings of a service, or with a settings file."""

    def __init__(self, problems: tuple[SettingProblem, ...]) -> None:
        """`problems` in the order of the fields."""
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        """One line a problem."""
        return "\n".join(str(problem) for problem in self.problems)


def variable_prefix(service: str) -> str:
    """`POSTBUS_<SERVICE>_`."""
    return f"{PREFIX}{service.upper().replace('-', '_')}_"


def load_settings(kind: type[Settings], service: str, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of `service` from `environ` (default: the process's). Raises SettingsError with all problems."""
    variables = os.environ if environ is None else environ
    prefix = variable_prefix(service)
    unread = {name for name in variables if name.startswith(prefix)}
    problems: list[SettingProblem] = []
    values: dict[str, Any] = {}
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in kind.__struct_fields__:
        name = prefix + field.upper()
        unread -= {name, name + FILE_SUFFIX}
        try:
            text = _read_text(variables, name)
            if text is not None:
                values[field] = parse_value(text, hints[field])
        except ValueError as error:
            problems.append(SettingProblem(name, str(error)))
    problems += [SettingProblem(name, "no such setting") for name in sorted(unread)]
    try:
        # Also when some fields are wrong: what `__post_init__` says of the others belongs to the list.
        made = kind(**values)
    except (TypeError, ValueError) as error:
        raise SettingsError((*problems, _whole_problem(kind, prefix, str(error)))) from error
    if problems:
        raise SettingsError(tuple(problems))
    return made


def _whole_problem(kind: type[msgspec.Struct], prefix: str, text: str) -> SettingProblem:
    """What a struct says of itself, as `field: reason`."""
    field, separator, reason = text.partition(": ")
    if separator and field in kind.__struct_fields__:
        return SettingProblem(prefix + field.upper(), reason)
    return SettingProblem(prefix.rstrip("_"), text)


def _read_text(variables: Mapping[str, str], name: str) -> str | None:
    path = variables.get(name + FILE_SUFFIX)
    if path is None:
        return variables.get(name)
    if name in variables:
        raise ValueError(f"is set twice, by itself and by {name}{FILE_SUFFIX}")
    try:
        return Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ValueError(f"can't read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8") from error


def parse_value(text: str, hint: Any) -> Any:  # Any: a type expression, and a value of it
    """A field's value from its text. Raises ValueError without the text."""
    bare = _bare(hint)
    value: Any = text
    if type(None) in typing.get_args(bare) and not text:
        return None
    if typing.get_origin(bare) is tuple:
        value = [part.strip() for part in text.split(",") if part.strip()]
    elif bare is bool:
        value = _parse_bool(text)
    elif bare is not str:
        value = text.strip()
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError as error:
        bound = "`int` " in str(error) or "`float` " in str(error)
        raise ValueError(
            str(error).replace("Expected", "must be") if bound else f"must be: {type_word(hint)}"
        ) from None


def type_word(hint: Any) -> str:
    """A field's type for people."""
    bare = _bare(hint)
    if typing.get_origin(bare) is tuple:
        return "list"
    if isinstance(bare, types.UnionType) or typing.get_origin(bare) is typing.Union:
        inner = next(part for part in typing.get_args(bare) if part is not type(None))
        return f"{type_word(inner)}, or empty"
    if typing.get_origin(bare) is typing.Literal:
        return " or ".join(map(str, typing.get_args(bare)))
    if isinstance(bare, type) and issubclass(bare, enum.Enum):
        return " or ".join(str(member.value) for member in bare)
    return _TYPE_WORDS.get(bare, "text")


def _parse_bool(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("must be: true or false")
    return word in _TRUE


def _bare(hint: Any) -> Any:
    while typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    return hint


def parse_env_file(text: str, name: str = "postbus.env") -> dict[str, str]:
    """The variables of a file of NAME=VALUE lines; `#` begins a comment line, quotes around a value are dropped.

    Raises SettingsError with every line that is none.
    """
    found: dict[str, str] = {}
    problems: list[SettingProblem] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        variable, separator, value = stripped.partition("=")
        variable, value = variable.removeprefix("export ").strip(), value.strip()
        if not separator or not variable.isidentifier():
            problems.append(SettingProblem(f"{name} line {number}", "must be NAME=VALUE"))
        elif variable in found:
            problems.append(SettingProblem(f"{name} line {number}", f"{variable} is set twice"))
        else:
            found[variable] = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    if problems:
        raise SettingsError(tuple(problems))
    return found


def read_env_file(path: Path) -> dict[str, str]:
    """The variables of a settings file. Raises SettingsError, also for a file that can't be read."""
    try:
        return parse_env_file(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise SettingsError((SettingProblem(str(path), error.strerror or str(error)),)) from error
    except UnicodeDecodeError as error:
        raise SettingsError((SettingProblem(str(path), "is not UTF-8"),)) from error


def process_environment() -> dict[str, str]:
    """A copy of the process's environment, for the command line's launcher and `check-config`."""
    return dict(os.environ)
