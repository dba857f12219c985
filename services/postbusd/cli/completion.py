"""`postbus completion bash|zsh`: a script that completes commands, options and their values.

For bash: `postbus completion bash > /etc/bash_completion.d/postbus`; for zsh: `source <(postbus completion zsh)`.
"""

import argparse
import importlib

from postbusd.cli.objects import Subparsers

SHELLS = ("bash", "zsh")
_FUNCTION = """
_postbus() {
    local current="${COMP_WORDS[COMP_CWORD]}" path="postbus" word last="" next
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        last="$word"
        next="$path $word"
        [[ -n "${_postbus_words[$next]+known}" ]] && path="$next"
    done
    local choices="${_postbus_words[$path $last]-}"
    if [[ "$last" == -* && -n "$choices" ]]; then
        COMPREPLY=($(compgen -W "$choices" -- "$current"))
    else
        COMPREPLY=($(compgen -W "${_postbus_words[$path]-}" -- "$current"))
    fi
}
complete -o default -F _postbus postbus ./postbus
"""


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "completion",
        help="complete commands in a shell",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, help="for which shell")
    parser.set_defaults(handler=run_completion)


def run_completion(args: argparse.Namespace) -> int:
    """Prints the script."""
    from postbusd.cli.main import COMMANDS, module_of

    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    for name in COMMANDS:
        importlib.import_module(f"postbusd.cli.{module_of(name)}").add_parser(subparsers)
    table = [f"    [{_quote(path)}]={_quote(' '.join(words))}" for path, words in sorted(list_words(parser).items())]
    head = ["autoload -U +X bashcompinit && bashcompinit"] if args.shell == "zsh" else []
    print("\n".join([*head, "declare -gA _postbus_words=(", *table, ")", _FUNCTION.strip()]))
    return 0


def list_words(parser: argparse.ArgumentParser, path: str = "postbus") -> dict[str, list[str]]:
    """What may come after each path of commands, and after each option that has choices (`domain set --incoming`)."""
    found: dict[str, list[str]] = {path: []}
    for action in parser._actions:  # argparse has no public way to ask
        if isinstance(action, argparse._SubParsersAction):
            found[path] += action.choices
            for name, each in action.choices.items():
                found |= list_words(each, f"{path} {name}")
        elif action.option_strings:
            found[path] += [each for each in action.option_strings if each.startswith("--")]
            if action.choices:
                values = [str(each) for each in action.choices]
                found |= {f"{path} {option}": values for option in action.option_strings}
        elif action.choices:
            found[path] += [str(each) for each in action.choices]
    return found


def _quote(text: str) -> str:
    """For the shell."""
    return "'" + text.replace("'", "'\\''") + "'"
