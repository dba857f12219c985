"""From the text of rules to a set that can be run: every fault is told with its line, and nothing raises."""

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from postbus.spam.rules.expressions import ExpressionError, names_in, parse_expression
from postbus.spam.rules.patterns import Pattern, PatternError, read_pattern
from postbus.spam.rules.values import Diagnostic, Expression, Form, Rule, Target, Test
from postbus.spam.scores import SCORES

MAX_TEXT_CHARACTERS: Final = 256 * 1024
MAX_RULES: Final = 2_000
MAX_DIAGNOSTICS: Final = 50
MAX_NAME_CHARACTERS: Final = 64
MAX_DESCRIPTION_CHARACTERS: Final = 200
MAX_SCORE: Final = 1_000.0
MAX_HITS: Final = 100
"""Of one rule that counts."""
TEST_SCORE: Final = 0.01
"""Of a rule whose name begins with T_."""

_NAME: Final = re.compile(r"[A-Za-z_]\w*\Z")
_FIELD: Final = re.compile(r"([A-Za-z][\w-]*)(?::(raw|addr|name))?\Z")
_COMMENT: Final = re.compile(r"(?<!\\)#.*")
_IF_UNSET: Final = re.compile(r"\[if-unset:\s*(.*)\]\Z")
_RELATIVE: Final = re.compile(r"\((-?\d+(?:\.\d+)?)\)\Z")
_NUMBER: Final = re.compile(r"-?(?:\d+(?:\.\d*)?|\.\d+)\Z")
_BLOCKS: Final = ("ifplugin", "if")


class RuleSet(msgspec.Struct, frozen=True, kw_only=True):
    """Rules in the order in which they are run: what an expression looks at stands before it."""

    rules: tuple[Rule, ...] = ()
    scores: Mapping[str, float] = {}
    """Other weights for tests of ours."""

    @property
    def shown(self) -> int:
        """How many may stand in X-Spam-Status."""
        return sum(not rule.is_hidden for rule in self.rules)


class _Draft(msgspec.Struct, kw_only=True):
    name: str
    line: int
    test: Test | None = None
    expression: Expression | None = None
    score: float | None = None
    description: str = ""
    nice: bool = False
    multiple: int = 1


class _FaultyError(Exception):
    """A line that can't be taken."""

    def __init__(self, reason: str, *, fatal: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fatal = fatal


def compile_rules(text: str) -> tuple[RuleSet, tuple[Diagnostic, ...]]:
    """The rules, and what is wrong; a set with a fatal diagnostic is not to be used."""
    if len(text) > MAX_TEXT_CHARACTERS:
        return RuleSet(), (Diagnostic(1, f"more than {MAX_TEXT_CHARACTERS} characters"),)
    compiler = _Compiler()
    for number, line in enumerate(text.split("\n"), 1):
        compiler.read(number, line)
    return compiler.finish()


def first_fault(text: str) -> Diagnostic | None:
    """What keeps the rules from being used; None: nothing."""
    return next((found for found in compile_rules(text)[1] if found.fatal), None)


class _Compiler:
    """One pass over the lines, then what needs all of them."""

    def __init__(self) -> None:
        self._drafts: dict[str, _Draft] = {}
        self._scores: dict[str, tuple[int, float, bool]] = {}
        self._words: dict[str, tuple[int, str]] = {}
        self._flags: dict[str, tuple[int, str]] = {}
        self._found: list[Diagnostic] = []
        self._skipping: list[int] = []
        """Lines of the blocks that are skipped."""
        self._directives: Mapping[str, Callable[[int, str, str], None]] = {
            **{target.value: self._read_test for target in Target},
            "meta": self._read_meta,
            "score": self._read_score,
            "describe": self._read_description,
            "tflags": self._read_flags,
        }

    def read(self, number: int, line: str) -> None:
        """One line."""
        line = _COMMENT.sub("", line).replace("\\#", "#").strip()
        word, _, rest = line.partition(" ")
        word, rest = word.strip(), rest.strip()
        if "\t" in word:
            word, _, more = word.partition("\t")
            rest = f"{more} {rest}".strip()
        try:
            self._take(number, word.lower(), rest)
        except _FaultyError as fault:
            self._tell(number, fault.reason, fatal=fault.fatal)

    def _take(self, number: int, word: str, rest: str) -> None:
        if not word:
            return
        if word in _BLOCKS:
            self._skipping.append(number)
            if len(self._skipping) > 1:
                return
            raise _FaultyError(f"{word}: skipped to its endif: there are no plugins", fatal=False)
        if word == "endif":
            if not self._skipping:
                raise _FaultyError("endif without an if")
            self._skipping.pop()
        elif self._skipping or word == "lang":
            return
        elif word == "loadplugin":
            raise _FaultyError("there are no plugins", fatal=False)
        elif word in self._directives:
            self._directives[word](number, word, rest)
        else:
            raise _FaultyError(f"{word[:40]} is not known here")

    def finish(self) -> tuple[RuleSet, tuple[Diagnostic, ...]]:
        """Joins rules with their scores, descriptions and flags, and orders them."""
        for line in self._skipping:
            self._tell(line, "its endif is missing")
        for name, (line, flags) in self._flags.items():
            self._set_flags(name, line, flags)
        for name, (line, words) in self._words.items():
            if name in self._drafts:
                self._drafts[name].description = words
            elif name not in SCORES:
                self._tell(line, f"describe: there is no rule {name}", fatal=False)
        weights: dict[str, float] = {}
        for name, (line, score, relative) in self._scores.items():
            if name in self._drafts:
                base = _default_score(self._drafts[name]) if relative else 0.0
                self._drafts[name].score = base + score
            elif name in SCORES:
                weights[name] = score + (SCORES[name] if relative else 0.0)
            else:
                self._tell(line, f"score: there is no rule {name}", fatal=False)
        rules = self._order()
        self._found.sort(key=lambda each: each.line)
        return RuleSet(rules=rules, scores=weights), tuple(self._found[:MAX_DIAGNOSTICS])

    def _order(self) -> tuple[Rule, ...]:
        """Tests first, then each expression after what it looks at."""
        done: dict[str, Rule] = {name: _rule(each) for name, each in self._drafts.items() if each.expression is None}
        waiting = {name: each for name, each in self._drafts.items() if each.expression is not None}
        while waiting:
            ready = [name for name, each in waiting.items() if not self._needs(each) & waiting.keys()]
            if not ready:
                for name, each in waiting.items():
                    self._tell(each.line, f"meta {name} looks at itself, by way of others")
                break
            for name in ready:
                done[name] = _rule(waiting.pop(name))
        return tuple(done.values())

    def _needs(self, draft: _Draft) -> set[str]:
        assert draft.expression is not None
        names = set(names_in(draft.expression))
        for name in sorted(names - self._drafts.keys() - SCORES.keys()):
            self._tell(draft.line, f"meta {draft.name}: there is no rule {name}: it counts 0", fatal=False)
        return names

    def _tell(self, line: int, reason: str, *, fatal: bool = True) -> None:
        found = Diagnostic(line, reason, fatal)
        if found not in self._found:
            self._found.append(found)

    def _new(self, number: int, name: str) -> _Draft:
        check_name(name)
        if name in SCORES:
            raise _FaultyError(f"{name} is a test of ours: give the rule another name")
        if len(self._drafts) >= MAX_RULES:
            raise _FaultyError(f"more than {MAX_RULES} rules")
        # The last rule of a name holds, as in SpamAssassin.
        self._drafts[name] = _Draft(name=name, line=number)
        return self._drafts[name]

    def _read_test(self, number: int, word: str, rest: str) -> None:
        name, _, definition = rest.partition(" ")
        target = Target(word)
        has_field = target in (Target.HEADER, Target.MIMEHEADER)
        test = (
            _read_field_test(target, definition.strip()) if has_field else _read_text_test(target, definition.strip())
        )
        self._new(number, name).test = test

    def _read_meta(self, number: int, _: str, rest: str) -> None:
        name, _, definition = rest.partition(" ")
        try:
            expression = parse_expression(definition)
        except ExpressionError as error:
            raise _FaultyError(str(error)) from error
        self._new(number, name).expression = expression

    def _read_score(self, number: int, _: str, rest: str) -> None:
        name, *numbers = rest.split() or [""]
        check_name(name)
        if len(numbers) not in (1, 4):
            raise _FaultyError("score NAME NUMBER: one number, or four of which the last is used")
        relative = _RELATIVE.match(numbers[-1])
        text = relative[1] if relative else numbers[-1]
        if not _NUMBER.match(text) or abs(float(text)) > MAX_SCORE:
            raise _FaultyError(f"{text[:20]} is no score: -{MAX_SCORE:g} to {MAX_SCORE:g}")
        self._scores[name] = (number, float(text), relative is not None)

    def _read_description(self, number: int, _: str, rest: str) -> None:
        name, _, words = rest.partition(" ")
        check_name(name)
        self._words[name] = (number, words.strip()[:MAX_DESCRIPTION_CHARACTERS])

    def _read_flags(self, number: int, _: str, rest: str) -> None:
        name, _, flags = rest.partition(" ")
        check_name(name)
        self._flags[name] = (number, flags)

    def _set_flags(self, name: str, line: int, flags: str) -> None:
        draft = self._drafts.get(name)
        if draft is None:
            self._tell(line, f"tflags: there is no rule {name}", fatal=False)
            return
        for flag in flags.split():
            if flag == "nice":
                draft.nice = True
            elif flag == "multiple":
                draft.multiple = MAX_HITS if draft.multiple == 1 else draft.multiple
            elif flag.startswith("maxhits=") and flag[8:].isdigit() and 0 < int(flag[8:]) <= MAX_HITS:
                draft.multiple = int(flag[8:])
            else:
                self._tell(line, f"tflags {name}: {flag[:40]} is not known here", fatal=False)


def check_name(name: str) -> None:
    """Raises _FaultyError for what is no name of a rule."""
    if not _NAME.match(name) or not name.isascii() or len(name) > MAX_NAME_CHARACTERS:
        raise _FaultyError(f"{name[:40]!r} is no name: letters, digits and _, at most {MAX_NAME_CHARACTERS}")


def _default_score(draft: _Draft) -> float:
    if draft.name.startswith("__"):
        return 0.0
    score = TEST_SCORE if draft.name.startswith("T_") else 1.0
    return -score if draft.nice else score


def _rule(draft: _Draft) -> Rule:
    score = _default_score(draft) if draft.score is None or draft.name.startswith("__") else draft.score
    return Rule(
        name=draft.name,
        line=draft.line,
        test=draft.test,
        expression=draft.expression,
        score=score,
        description=draft.description,
        multiple=draft.multiple,
    )


def _read_text_test(target: Target, definition: str) -> Test:
    if definition.startswith("eval:"):
        raise _FaultyError("eval: there are no plugins", fatal=False)
    pattern, rest = _read_pattern(definition)
    if rest:
        raise _FaultyError(f"{rest[:40]} is not expected after the pattern")
    return Test(target=target, pattern=pattern)


def _read_field_test(target: Target, definition: str) -> Test:
    if definition.startswith("exists:"):
        field, form = _read_field(definition.removeprefix("exists:").strip())
        return Test(target=target, field=field, form=form)
    if definition.startswith("eval:"):
        raise _FaultyError("eval: there are no plugins", fatal=False)
    name, sign, rest = (*definition.split(None, 2), "", "", "")[:3]
    if sign not in ("=~", "!~"):
        raise _FaultyError("FIELD =~ /…/, FIELD !~ /…/ or exists:FIELD is missing")
    field, form = _read_field(name)
    pattern, rest = _read_pattern(rest.strip())
    unset = _IF_UNSET.match(rest)
    if rest and unset is None:
        raise _FaultyError(f"{rest[:40]} is not expected after the pattern")
    return Test(
        target=target,
        pattern=pattern,
        field=field,
        form=form,
        negated=sign == "!~",
        if_unset=unset[1].strip() if unset else "",
    )


def _read_field(text: str) -> tuple[str, Form]:
    found = _FIELD.match(text)
    if found is None:
        raise _FaultyError(f"{text[:40]!r} is no header field: NAME, NAME:addr, NAME:name or NAME:raw")
    return found[1].lower(), Form(found[2]) if found[2] else Form.VALUE


def _read_pattern(text: str) -> tuple[Pattern, str]:
    try:
        return read_pattern(text)
    except PatternError as error:
        raise _FaultyError(str(error)) from error
