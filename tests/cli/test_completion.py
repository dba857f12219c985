"""Completion in a real bash."""

import contextlib
import io
import shutil
import subprocess

import pytest

from postbusd.cli.main import COMMANDS, main


@pytest.fixture(scope="module")
def script() -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert main(["completion", "bash"]) == 0
    return output.getvalue()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("postbus", "dom"), {"domain"}),
        (("postbus", ""), {*COMMANDS, "--help"}),
        (("postbus", "token", "a"), {"add"}),
        (("postbus", "domain", "set", "example.org", "--inc"), {"--incoming"}),
        (("postbus", "domain", "set", "example.org", "--incoming", ""), {"on", "off"}),
        (("postbus", "policy", "set", "--dmarc-reject", "q"), {"quarantine"}),
        (("postbus", "completion", "z"), {"zsh"}),
        (("postbus", "nonsense", "dom"), {"domain"}),
    ],
)
def test_words_are_completed(script: str, words: tuple[str, ...], found: set[str]) -> None:
    asked = " ".join(f"'{word}'" for word in words)
    text = (
        f"{script}\nCOMP_WORDS=({asked}); COMP_CWORD={len(words) - 1}; _postbus; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "--norc", "-euc", text], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == found
    assert done.stderr == ""


def test_zsh_loads_bashs(capsys: pytest.CaptureFixture[str], script: str) -> None:
    assert main(["completion", "zsh"]) == 0
    first, _, rest = capsys.readouterr().out.partition("\n")
    assert "bashcompinit" in first
    assert rest == script
