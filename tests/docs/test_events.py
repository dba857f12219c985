"""Events in logs are constants: dotted lower-case names, with facts beside them, none with a forbidden name."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from postbus.testing.installation import ROOT

EVENT = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+\Z")
METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
FORBIDDEN = {"name", "msg", "args", "message", "module", "password", "token", "secret", "subject", "body", "content"}
SOURCES = ("libs/postbus/**/*.py", "services/postbusd/**/*.py")


@functools.cache
def calls() -> tuple[tuple[str, ast.Call, ast.expr], ...]:
    """Where, the call, and its event."""
    return tuple(_calls())


def _calls() -> Iterator[tuple[str, ast.Call, ast.expr]]:
    for path in (path for pattern in SOURCES for path in sorted(ROOT.glob(pattern))):
        if "testing" in path.parts or "gen" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            of = node.func.value
            if isinstance(of, ast.Name) and of.id == "log" and node.func.attr in METHODS | {"log"}:
                yield where(path, node), node, node.args[1 if node.func.attr == "log" else 0]


def where(path: Path, node: ast.Call) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def constants(node: ast.expr) -> list[object]:
    """The names that an event may have; None for one that is made."""
    if isinstance(node, ast.IfExp):
        return constants(node.body) + constants(node.orelse)
    return [node.value if isinstance(node, ast.Constant) else None]


def test_each_line_has_a_constant_dotted_event() -> None:
    found = calls()
    assert len(found) > 100
    for place, call, event in found:
        for name in constants(event):
            assert isinstance(name, str), f"{place}: made of parts"
            assert EVENT.match(name), f"{place}: {name}"
        assert not call.args[2 if isinstance(call.func, ast.Attribute) and call.func.attr == "log" else 1 :], place


def test_facts_have_names_of_their_own_and_tell_no_secrets() -> None:
    for place, call, _ in calls():
        for word in call.keywords:
            if word.arg == "extra":
                keys = {
                    key.value
                    for node in ast.walk(word.value)
                    if isinstance(node, ast.Dict)
                    for key in node.keys
                    if isinstance(key, ast.Constant)
                }
                assert not keys & FORBIDDEN, f"{place}: {keys & FORBIDDEN}"
