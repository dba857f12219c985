"""What the text of rules becomes."""

import enum

import msgspec

from postbus.spam.rules.patterns import Pattern


class Target(enum.StrEnum):
    """What a pattern is looked for in."""

    HEADER = "header"
    """A field of the header section, decoded."""
    BODY = "body"
    """The subject and the text of all text parts without markup, a paragraph a line."""
    RAWBODY = "rawbody"
    """The text parts with their markup and line breaks."""
    FULL = "full"
    """The message as it came."""
    URI = "uri"
    """Its links, one a line."""
    MIMEHEADER = "mimeheader"
    """A field of the header section of each body part."""


class Form(enum.StrEnum):
    """Of a header field."""

    VALUE = "value"
    RAW = "raw"
    """Encoded-words left alone."""
    ADDR = "addr"
    """The first address."""
    NAME = "name"
    """Its display name."""


class Test(msgspec.Struct, frozen=True, kw_only=True):
    """A pattern and where it is looked for."""

    target: Target
    pattern: Pattern | None = None
    """None: whether the header field exists."""
    field: str = ""
    """HEADER, MIMEHEADER: lower-case name."""
    form: Form = Form.VALUE
    negated: bool = False
    """Matches where the pattern does not."""
    if_unset: str = ""
    """In place of a field that is not there."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A named test, or an expression over others."""

    name: str
    line: int
    test: Test | None = None
    """None: a meta rule."""
    expression: "Expression | None" = None
    score: float = 1.0
    description: str = ""
    multiple: int = 1
    """How many matches are counted, for expressions."""

    @property
    def is_hidden(self) -> bool:
        """Only for expressions: it is not told and weighs nothing."""
        return self.name.startswith("__")


class Expression(msgspec.Struct, frozen=True):
    """An operator over operands; a leaf has none."""

    operator: str
    """`name`, `number`, or one of ! - + * / < > <= >= == != && ||."""
    operands: tuple["Expression", ...] = ()
    name: str = ""
    number: float = 0.0


class Diagnostic(msgspec.Struct, frozen=True):
    """What is wrong with a line."""

    line: int
    reason: str
    fatal: bool = True
    """False: the line is skipped, the others hold."""

    def __str__(self) -> str:
        """For people."""
        return f"line {self.line}: {self.reason}"
