"""The administrator's rules: what their text becomes, what it is told, and what matches."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbus.mime.scanner import scan_message
from postbus.spam.rules import compiling, patterns
from postbus.spam.rules.compiling import compile_rules, first_fault
from postbus.spam.rules.expressions import ExpressionError, evaluate, parse_expression
from postbus.spam.rules.patterns import Pattern, PatternTimeoutError
from postbus.spam.rules.running import RuleRunner
from postbus.spam.rules.sources import RuleSource

MESSAGE = (
    b"Received: from a.example\r\nFrom: =?utf-8?q?J=C3=B6rg?= <joerg@Sales.example>\r\nTo: ann@demo.example, "
    b"bob@demo.example\r\nCc: carl@demo.example\r\nSubject: Your =?utf-8?q?discount?= of 50%\r\n"
    b"Message-ID: <1@sales.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nDear friend,\r\nact now! Gr\xc3\xbc\xc3\x9fe\r\n\r\n"
    b"Second paragraph, see www.pills.example/buy.\r\n"
    b"--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b'<p>Click <a href=3D"https://evil.example/?a=3D1&amp;b=3D2">here</a> <b>free</b> free FREE</p>\r\n'
    b"--b\r\nContent-Type: application/zip; name=invoice.zip\r\nContent-Disposition: attachment\r\n\r\nPK\r\n--b--\r\n"
)


def run(rules: str, content: bytes = MESSAGE, known: tuple[str, ...] = ()) -> dict[str, float]:
    """Names and scores of what matched."""
    compiled, found = compile_rules(rules)
    assert [str(each) for each in found if each.fatal] == []
    source = RuleSource(content, scan_message(content), "bounce@sales.example")
    return {each.name: each.score or 0.0 for each in RuleRunner(compiled).run(source, dict.fromkeys(known, 1.0))}


def test_the_manuals_two_lines() -> None:
    rules = r"""
    header SUBJECT_HAS_DISCOUNT  Subject =~ /\bdiscount\b/i
    describe SUBJECT_HAS_DISCOUNT    I hate email discounts
    """
    assert run(rules) == {"SUBJECT_HAS_DISCOUNT": 1.0}
    assert run(rules, MESSAGE.replace(b"discount", b"dis-count")) == {}
    (rule,) = compile_rules(rules)[0].rules
    assert rule.description == "I hate email discounts"


@pytest.mark.parametrize(
    ("definition", "matches"),
    [
        ("header A From =~ /Jörg/", True),
        ("header A From:raw =~ /=C3=B6rg/", True),
        ("header A From:addr =~ /^joerg@sales\\.example$/i", True),
        ("header A From:addr =~ /Jörg/", False),
        ("header A From:name =~ /^Jörg$/", True),
        ("header A ToCc =~ /carl@/", True),
        ("header A To =~ /carl@/", False),
        ("header A MESSAGEID =~ /^<1@/", True),
        ("header A EnvelopeFrom =~ /^bounce@/", True),
        ("header A ALL =~ /^Received: .*\\nFrom:/m", True),
        ("header A exists:Cc", True),
        ("header A exists:Bcc", False),
        ("header A Subject !~ /discount/", False),
        ("header A Bcc !~ /x/", True),
        ("header A Bcc =~ /^none$/ [if-unset: none]", True),
        ("header A Subject =~ m{discount of \\d+%}", True),
        ("header A Subject =~ m{Disc}", False),
        ("body A /discount/", True),
        ("body A /Dear friend, act now! Grüße$/", True),
        ("body A /^Second/", True),
        ("body A /friend.*Second/", False),
        ("body A /<b>/", False),
        ("rawbody A /<b>free<\\/b>/", True),
        ("rawbody A /friend,\\nact/", True),
        ("full A /quoted-printable/", True),
        ("uri A /^http:\\/\\/www\\.pills\\.example\\/buy$/", True),
        ("uri A m{^https://evil\\.example/\\?a=1&b=2$}", True),
        ("uri A /nowhere/", False),
        ("mimeheader A Content-Type =~ /name=invoice\\.zip/", True),
        ("mimeheader A Content-Type =~ /image/", False),
        ("body A /(?<=act )now/", True),
        ("body A /(f)r(?:ee) \\1ree/i", True),
        ("body A / a c t /x", True),
        ("body A / a c t \\s now /x", True),
        ("body A /\\#1/", False),
    ],
)
def test_where_patterns_are_looked_for(definition: str, matches: bool) -> None:
    assert run(definition) == ({"A": 1.0} if matches else {})


def test_scores() -> None:
    rules = """
    body A /friend/
    score A 2.5
    body B /friend/
    score B 1 2 3 4
    body C /friend/
    score C (0.5)
    body T_D /friend/
    body E /friend/
    tflags E nice
    body __F /friend/
    score __F 9
    body G /friend/
    score G 0
    score SPF_FAIL 7
    score SPF_NONE (0.25)
    """
    assert run(rules) == {"A": 2.5, "B": 4.0, "C": 1.5, "T_D": 0.01, "E": -1.0}
    assert compile_rules(rules)[0].scores == {"SPF_FAIL": 7.0, "SPF_NONE": 0.25}
    assert compile_rules(rules)[0].shown == 6


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ("__ONE && __TWO", True),
        ("__ONE && !__NONE", True),
        ("!__ONE || __NONE", False),
        ("(__ONE + __TWO + __NONE) > 1", True),
        ("__ONE + __TWO + __NONE >= 3", False),
        ("__FREE == 3", True),
        ("__CAPPED > 2", False),
        ("SPF_FAIL && LATER", True),
        ("DKIM_VALID", False),
        ("2 * __FREE - 1 == 10 / 2", True),
        ("-__ONE < 0", True),
        ("__ONE / __NONE", False),
        ("UNKNOWN", False),
    ],
)
def test_meta(expression: str, matches: bool) -> None:
    rules = f"""
    meta M {expression}
    meta LATER __ONE
    body __ONE /friend/
    body __TWO /paragraph/
    body __NONE /nothing/
    body __FREE /free/i
    tflags __FREE multiple
    body __CAPPED /free/i
    tflags __CAPPED multiple maxhits=2
    """
    assert ("M" in run(rules, known=("SPF_FAIL",))) is matches


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("body A /x", "line 1: the closing / is missing"),
        ("\n\nbody A x", "line 3: a pattern as /…/ or m{…} is missing"),
        ("body A /(/", "line 1: "),
        ("body A /x/q", "line 1: unknown flag q"),
        ("body A /x/ y", "line 1: y is not expected after the pattern"),
        ("body 1A /x/", "line 1: '1A' is no name"),
        ("body /x/", "line 1: "),
        ("body A" + "A" * 64 + " /x/", "line 1: 'AAAA"),
        ("body SPF_PASS /x/", "line 1: SPF_PASS is a test of ours"),
        ("header A Subject /x/", "line 1: FIELD =~"),
        ("header A Sub ject =~ /x/", "line 1: FIELD =~"),
        ("header A Sub(ject =~ /x/", "line 1: 'Sub(ject' is no header field"),
        ("header A Subject:what =~ /x/", "line 1: 'Subject:what' is no header field"),
        ("header A", "line 1: FIELD =~"),
        ("score A much", "line 1: much is no score"),
        ("score A 1001", "line 1: 1001 is no score"),
        ("score A 1 2", "line 1: score NAME NUMBER"),
        ("score", "line 1: '' is no name"),
        ("meta A", "line 1: an expression is missing"),
        ("meta A (B", "line 1: a closing parenthesis is missing"),
        ("meta A B &&", "line 1: something is missing at the end"),
        ("meta A B C", "line 1: C is not expected"),
        ("meta A B & C", "line 1: & C is not expected"),
        ("meta A B\nmeta B C\nmeta C A", "line 1: meta A looks at itself"),
        ("required_score 4", "line 1: required_score is not known here"),
        ("endif", "line 1: endif without an if"),
        ("ifplugin X\nbody A /x/", "line 1: its endif is missing"),
        ("body A /" + "x" * 4_097 + "/", "line 1: more than 4096 characters"),
        ("#" * 262_145, "line 1: more than 262144 characters"),
        ("\n".join(f"body R{number} /x/" for number in range(2_001)), "line 2001: more than 2000 rules"),
    ],
)
def test_faults_name_the_line_and_the_reason(text: str, fault: str) -> None:
    found = first_fault(text)
    assert str(found).startswith(fault), found


def test_what_is_skipped_is_told_and_the_rest_holds() -> None:
    text = """# comment
    loadplugin Mail::SpamAssassin::Plugin::X
    ifplugin Mail::SpamAssassin::Plugin::X
      if (version >= 3)
        nonsense here
      endif
      body A /x/
    endif
    header B eval:check_something()
    lang de describe C Freund
    body C /friend/ # of whom
    body D /act\\#now|now/
    describe NOBODY nothing
    score NOBODY 1
    tflags NOBODY nice
    tflags C net
    meta E NOBODY
    """
    _, found = compile_rules(text)
    assert [(each.line, each.fatal) for each in found] == [
        (2, False), (3, False), (9, False), (13, False), (14, False), (15, False), (16, False), (17, False),
    ]  # fmt: skip
    assert run(text) == {"C": 1.0, "D": 1.0}


def test_the_last_rule_of_a_name_holds() -> None:
    assert run("body A /nothing/\nscore A 3\nbody A /friend/") == {"A": 3.0}


def test_a_pattern_that_takes_too_long_is_off_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = r"body EVIL /^(?=a)(a|aa)+$/" + "\nbody GOOD /aaa/"
    content = b"Subject: x\r\n\r\n" + b"a" * 5_000 + b"b\r\n"
    told: list[str] = []
    runner = RuleRunner(compile_rules(evil)[0], told.append)
    started = time.monotonic()
    for _ in range(3):
        found = runner.run(RuleSource(content, scan_message(content), ""), {})
        assert [each.name for each in found] == ["GOOD"]
    assert told == ["EVIL"]
    assert time.monotonic() - started < 5
    with pytest.raises(PatternTimeoutError):
        Pattern(r"^(?=a)(a|aa)+$", frozenset()).count(b"a" * 5_000 + b"b")


def test_all_rules_together_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postbus.spam.rules.running.MAX_SECONDS", -1.0)
    told: list[str] = []
    runner = RuleRunner(compile_rules("body A /friend/")[0], told.append)
    assert runner.run(RuleSource(MESSAGE, scan_message(MESSAGE), ""), {}) == []
    assert (told, runner.disabled) == ([""], set())


def test_an_expression_has_an_end() -> None:
    parse_expression("!" * 20 + "A")
    for text in ("(" * 40 + "A" + ")" * 40, "!" * 60 + "A", "A" + " + A - A" * 300):
        with pytest.raises(ExpressionError):
            parse_expression(text)
    longest = "A" + " + A - A" * 99
    assert evaluate(parse_expression(longest), {"A": 1.0}) == 1.0


@given(st.recursive(st.integers(0, 3), lambda inner: st.tuples(st.sampled_from("+-*"), inner, inner), max_leaves=12))
def test_arithmetic_is_that_of_python(tree: object) -> None:
    def write(node: object) -> str:
        if isinstance(node, int):
            return str(node)
        assert isinstance(node, tuple)
        return f"({write(node[1])} {node[0]} {write(node[2])})"

    def flat(node: object) -> str:
        if isinstance(node, int):
            return str(node)
        assert isinstance(node, tuple)
        return f"{flat(node[1])} {node[0]} {flat(node[2])}"

    for text in (write(tree), flat(tree)):
        assert evaluate(parse_expression(text), {}) == eval(text)


@given(st.text(alphabet="bodyheadermetascore ABC/(){}[]=~!&|+-0123456789#:\\\n_if", max_size=200))
def test_any_text_is_answered(text: str) -> None:
    compiled, found = compile_rules(text)
    assert len(found) <= compiling.MAX_DIAGNOSTICS
    source = RuleSource(MESSAGE, scan_message(MESSAGE), "")
    RuleRunner(compiled).run(source, {})


@given(st.binary(max_size=300))
def test_any_message_is_looked_at(content: bytes) -> None:
    rules = compile_rules(
        "header A ALL =~ /x/\nheader B From:addr =~ /x/\nheader C From:name =~ /x/\nbody D /x/\nrawbody E /x/\n"
        "full F /x/\nuri G /x/\nmimeheader H Content-Type =~ /x/\nheader I Subject:raw =~ /(?=x)x/"
    )[0]
    for octets in (content, b"From: " + content, b"Content-Type: text/html\r\n\r\n" + content):
        RuleRunner(rules).run(RuleSource(octets, scan_message(octets), ""), {})


def test_re2_does_what_it_can() -> None:
    assert patterns._compile_re2("(?m)a{2,5}b") is not None
    assert patterns._compile_re2("(?m)(?=x)") is None
