"""Expressions of meta rules: boolean and arithmetic operators over the names of tests, as in Perl."""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from postbus.spam.rules.values import Expression

MAX_TOKENS: Final = 400
MAX_DEPTH: Final = 30
_TOKEN: Final = re.compile(r"\s*(?:([A-Za-z_]\w*)|(\d+(?:\.\d+)?|\.\d+)|(&&|\|\||[<>=!]=|[-+*/<>!()]))")
_LEVELS: Final = (("||",), ("&&",), ("==", "!="), ("<", ">", "<=", ">="), ("+", "-"), ("*", "/"))
_OPERATIONS: Final[Mapping[str, Callable[[float, float], float]]] = {
    "||": lambda first, second: first or second,
    "&&": lambda first, second: second if first else first,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda first, second: first / second if second else 0.0,
}


class ExpressionError(ValueError):
    """An expression that can't be read; the text says why."""


def parse_expression(text: str) -> Expression:
    """Raises ExpressionError."""
    tokens = list(_split(text))
    if not tokens:
        raise ExpressionError("an expression is missing")
    reader = _Reader(tokens)
    found = reader.read(0, 0)
    if reader.next:
        raise ExpressionError(f"{reader.next} is not expected")
    return found


def evaluate(expression: Expression, values: Mapping[str, float]) -> float:
    """Names that are not there are 0."""
    match expression.operator:
        case "name":
            return values.get(expression.name, 0.0)
        case "number":
            return expression.number
        case "!":
            return float(not evaluate(expression.operands[0], values))
        case "negative":
            return -evaluate(expression.operands[0], values)
    found = evaluate(expression.operands[0], values)
    for operand in expression.operands[1:]:
        found = float(_OPERATIONS[expression.operator](found, evaluate(operand, values)))
    return found


def names_in(expression: Expression) -> Iterator[str]:
    """Of the tests that it looks at."""
    if expression.name:
        yield expression.name
    for operand in expression.operands:
        yield from names_in(operand)


def _split(text: str) -> Iterator[str]:
    at = count = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ExpressionError(f"{text[at:].strip()[:20]} is not expected")
        count += 1
        if count > MAX_TOKENS:
            raise ExpressionError(f"more than {MAX_TOKENS} words")
        yield found[1] or found[2] or found[3]
        at = found.end()


class _Reader:
    """Precedence climbing: a level of operators calls the next tighter one. Chains of one operator are one node."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def next(self) -> str:
        """The next word; empty: there is none."""
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def read(self, level: int, depth: int) -> Expression:
        """An expression of operators that bind at least as tightly as `level`."""
        if depth > MAX_DEPTH:
            raise ExpressionError(f"more than {MAX_DEPTH} parentheses")
        if level == len(_LEVELS):
            return self._read_one(depth)
        found = self.read(level + 1, depth)
        while (word := self.next) in _LEVELS[level]:
            self._at += 1
            operand = self.read(level + 1, depth)
            operands = (*found.operands, operand) if found.operator == word else (found, operand)
            found = Expression(word, operands)
        return found

    def _read_one(self, depth: int) -> Expression:
        word = self.next
        self._at += 1
        if word in ("!", "-"):
            if depth > MAX_DEPTH:
                raise ExpressionError(f"more than {MAX_DEPTH} signs")
            return Expression("!" if word == "!" else "negative", (self._read_one(depth + 1),))
        if word == "(":
            found = self.read(0, depth + 1)
            if self.next != ")":
                raise ExpressionError("a closing parenthesis is missing")
            self._at += 1
            # A group stays one operand: (a - b) is no part of the chain around it.
            return Expression("+", (found,)) if found.operands else found
        if word[:1].isalpha() or word[:1] == "_":
            return Expression("name", name=word)
        if word[:1].isdigit() or word[:1] == ".":
            return Expression("number", number=float(word))
        raise ExpressionError(f"{word} is not expected" if word else "something is missing at the end")
