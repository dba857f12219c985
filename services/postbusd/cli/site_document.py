"""A site as one document: read strictly, compared with what is there, brought about in an order that works.

The sections are the objects of the API, each a mapping of names to what a PUT takes; `policy` is one object. What the
document does not name stays as it is. Secrets are for new objects alone: they can't be compared.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import yaml

from postbus.runtime.layout import StartError

MAX_OCTETS = 16 * 1024 * 1024
MAX_LEVELS = 20
SECTIONS = ("domains", "users", "groups", "apps", "mailboxes", "aliases", "lists")
"""In the order of making; that of deleting is the other way round."""
POLICY = "policy"
SECRETS = frozenset({"password", "password_hash"})
DEFERRED = {"domains": ("catch_all", "quota_octets"), "mailboxes": ("send_as",)}
"""Fields that name what is made later, or count it: they come in a second round."""

Fields = Mapping[str, Any]
Site = dict[str, dict[str, Fields]]
"""Section → name → fields; of the policy the name is empty."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One object that is not as the document says."""

    action: str
    """create, change or delete."""
    section: str
    name: str
    fields: dict[str, Any]
    """To be set."""
    before: dict[str, Any]
    """The same fields as they are; of a new object none."""

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.section} {self.name}".rstrip()


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """YAML without references, which multiply, and without doubled keys, of which one would be lost."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="references (*name) are not taken", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} is there twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# 2026-03-01 stays text, as JSON has no dates
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_document(octets: bytes, takes: Mapping[str, frozenset[str]]) -> Site:
    """`takes`: the fields of each section. Raises StartError, naming the path of what is wrong."""
    if len(octets) > MAX_OCTETS:
        raise StartError(f"the document has more than {MAX_OCTETS} octets")
    try:
        found = yaml.load(octets.decode("utf-8-sig"), _Loader)  # noqa: S506  a SafeLoader
    except UnicodeDecodeError as error:
        raise StartError("the document is not UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark is not None else ""
        raise StartError(f"{line}{error.problem}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise StartError("the document is not well-formed YAML or JSON") from error
    if not isinstance(found, dict):
        raise StartError("the document is a mapping of sections")
    site: Site = {}
    for section, objects in found.items():
        if section not in (*SECTIONS, POLICY):
            raise StartError(f"{section}: there is no such section; there are {', '.join((*SECTIONS, POLICY))}")
        named = {"": objects} if section == POLICY else objects if objects is not None else {}
        if not isinstance(named, dict) or not all(isinstance(name, str) for name in named):
            raise StartError(f"{section}: a mapping of names to fields")
        site[section] = {name.lower(): _read_fields(section, name, fields, takes) for name, fields in named.items()}
    return site


def _read_fields(section: str, name: str, fields: Any, takes: Mapping[str, frozenset[str]]) -> Fields:
    path = f"{section}.{name}".rstrip(".")
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise StartError(f"{path}: a mapping of fields to values")
    for field in fields:
        if field not in takes[section]:
            raise StartError(f"{path}.{field}: there is no such field; there are {', '.join(sorted(takes[section]))}")
    return fields


def compare(site: Site, there: Site, *, prune: bool) -> list[Step]:
    """What is to be done, in order. `there` has the sections that the document names, with all fields as they are."""
    steps: list[Step] = []
    later: list[Step] = []
    for section in (*SECTIONS, POLICY):
        objects = site.get(section, {})
        for name in sorted(objects, key=lambda name: (bool(objects[name].get("alias_of")), name)):
            for step in _compare_object(section, name, objects[name], there[section].get(name)):
                (later if step.action == "later" else steps).append(step)
    steps += [msgspec.structs.replace(step, action="change") for step in later]
    if prune:
        steps += _surplus(site, there)
    return steps


def _compare_object(section: str, name: str, fields: Fields, now: Fields | None) -> Iterator[Step]:
    if now is None:
        deferred = {field: fields[field] for field in DEFERRED.get(section, ()) if fields.get(field)}
        first = {field: value for field, value in fields.items() if field not in deferred}
        yield Step(action="create", section=section, name=name, fields=first, before={})
        if deferred:
            yield Step(action="later", section=section, name=name, fields=deferred, before={})
        return
    wanted = {
        field: value
        for field, value in fields.items()
        if field not in SECRETS and _without_secrets(value) != _without_secrets(now.get(field))
    }
    for is_later in (False, True):
        part = {field: each for field, each in wanted.items() if (field in DEFERRED.get(section, ())) is is_later}
        if part:
            before = {field: now.get(field) for field in part}
            yield Step(action="later" if is_later else "change", section=section, name=name, fields=part, before=before)


def _surplus(site: Site, there: Site) -> list[Step]:
    return [
        Step(action="delete", section=section, name=name, fields={}, before={})
        for section in reversed(SECTIONS)
        if section in site
        for name in sorted(there[section], key=lambda name: (not there[section][name].get("alias_of"), name))
        if name not in site[section] and not _is_of_app(there[section][name])
    ]


def _is_of_app(fields: Fields) -> bool:
    """A mailbox that goes with its app."""
    return bool((fields.get("owner") or {}).get("kind") == "app")


def _without_secrets(value: Any) -> Any:
    """For comparing; lists whose order means nothing are sorted by the API, and here."""
    if isinstance(value, dict):
        return {name: _without_secrets(each) for name, each in value.items() if name not in SECRETS}
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return sorted(value)
    return value


def write_document(site: Site) -> str:
    """YAML that `read_document` takes."""
    shown = {section: dict(objects.get("", {})) if section == POLICY else objects for section, objects in site.items()}
    text: str = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=120)
    return text
