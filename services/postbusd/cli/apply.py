"""`postbus apply`: brings the site to what one YAML or JSON document says; `postbus export --all` writes one."""

import argparse
from typing import Any

import msgspec

from postbusd.cli.api import ROOT, ApiClient, ApiError, path_of
from postbusd.cli.common import add_data_dir, clean, format_json
from postbusd.cli.import_ import read_octets
from postbusd.cli.mailbox_add import Progress
from postbusd.cli.objects import Session, Subparsers, find, list_all, print_json, run_action
from postbusd.cli.site_document import POLICY, SECRETS, SECTIONS, Site, Step, compare, read_document

_SIGNS = {"create": "+", "change": "~", "delete": "-"}
_ADDRESSED = frozenset({"mailboxes", "aliases", "lists"})


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A step that the API refused."""

    step: Step
    reason: str


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "apply",
        help="bring the site to what a document says",
        description="Creates and changes what the document names, in an order that works. What it does not name stays "
        "as it is; passwords are for new objects alone. Repeating it changes nothing more.",
    )
    parser.add_argument("file", help="YAML or JSON, as `postbus export --all` writes it; -: standard input")
    parser.add_argument("--plan", action="store_true", help="only say what would be done")
    parser.add_argument(
        "--prune", action="store_true", help="also delete what is in the document's sections and not in the document"
    )
    add_data_dir(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(handler=lambda args: run_action("apply", run_apply, args))


def run_apply(session: Session, args: argparse.Namespace) -> int:
    """Plans, and does it unless --plan. Exit code 1 when anything was refused."""
    takes = fetch_fields(session.api)
    site = read_document(read_octets(args.file), takes)
    there = load_site(session.api, tuple(site), takes)
    steps = [step for step in compare(site, there, prune=args.prune) if _is_real(session.api, step)]
    refused = [] if args.plan else _carry_out(session.api, steps)
    unchanged = sum(map(len, site.values())) - len({(s.section, s.name) for s in steps if s.action != "delete"})
    if args.json:
        print_json(
            {
                "plan": args.plan,
                "steps": [_public(step) for step in steps],
                "refused": [{"section": r.step.section, "name": r.step.name, "reason": r.reason} for r in refused],
                "unchanged": unchanged,
            }
        )
    else:
        print(format_steps(steps, refused, unchanged, plan=args.plan))
    return 1 if refused else 0


def fetch_fields(api: ApiClient) -> dict[str, frozenset[str]]:
    """The fields that a PUT of each section takes, as the API's own document says."""
    document = api.get(f"{ROOT}/openapi.json")
    found = {}
    for section in (*SECTIONS, POLICY):
        place = path_of(section) + ("" if section == POLICY else "/{address}" if section in _ADDRESSED else "/{name}")
        reference = document["paths"][place]["put"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        found[section] = frozenset(document["components"]["schemas"][reference.rpartition("/")[2]]["properties"])
    return found


def load_site(api: ApiClient, sections: tuple[str, ...], takes: dict[str, frozenset[str]]) -> Site:
    """What is there, as a PUT takes it, without secrets."""
    site: Site = {}
    for section in (each for each in (*SECTIONS, POLICY) if each in sections):
        if section == POLICY:
            objects = {"": api.get(path_of(POLICY))}
        else:
            listed = list_all(api, path_of(section), section)
            objects = {each["address" if section in _ADDRESSED else _key(each)]: each for each in listed}
        if section == "apps":
            for each in objects.values():
                each["domain"] = each["address"].rpartition("@")[2]
        site[section] = {
            name: {field: value for field, value in each.items() if field in takes[section]}
            for name, each in objects.items()
        }
    return site


def format_steps(steps: list[Step], refused: list[Refused], unchanged: int, *, plan: bool) -> str:
    """One line an object, one a field."""
    why = {(each.step.section, each.step.name, each.step.action): each.reason for each in refused}
    lines = []
    for step in steps:
        reason = why.get((step.section, step.name, step.action))
        lines.append(clean(f"{_SIGNS[step.action]} {step.title}" + (f"  REFUSED: {reason}" if reason else "")))
        for field, value in _public(step)["fields"].items():
            before = f"{format_json(step.before[field])} → " if field in step.before else ""
            lines.append(clean(f"    {field}: {before}{format_json(value)}"))
    counts = {action: sum(step.action == action for step in steps) for action in _SIGNS}
    words = {"create": "created", "change": "changed", "delete": "deleted"}
    parts = [f"{number} {'to ' + action if plan else words[action]}" for action, number in counts.items()]
    parts += [f"{unchanged} unchanged"] + ([f"{len(refused)} of them refused"] if refused else [])
    return "\n".join([*lines, ", ".join(parts)])


def _is_real(api: ApiClient, step: Step) -> bool:
    """Whether a change is one for the API too, which folds names and puts things in order."""
    if step.action != "change" or not step.before:
        return True
    try:
        answer = api.patch(f"{_path(step)}?plan=true", step.fields)
    except ApiError:
        return True  # it may need what an earlier step makes; else carrying it out tells why not
    return bool(answer["action"] != "none")


def _carry_out(api: ApiClient, steps: list[Step]) -> list[Refused]:
    """A refused step keeps no other out, as far as they need not each other."""
    refused = []
    progress = Progress(len(steps), "steps")
    for step in steps:
        try:
            _do(api, step)
        except ApiError as error:
            refused.append(Refused(step=step, reason=str(error)))
        progress.step()
    progress.clear()
    return refused


def _do(api: ApiClient, step: Step) -> None:
    path = _path(step)
    if step.action == "delete":
        if find(api, path) is not None:  # a mailbox takes its own user with it
            api.delete(path)
    elif step.action == "create" and find(api, path) is None:
        api.put(path, step.fields)
    else:
        api.patch(path, {field: value for field, value in step.fields.items() if field not in SECRETS})


def _path(step: Step) -> str:
    return path_of(step.section, step.name) if step.section != POLICY else path_of(POLICY)


def _public(step: Step) -> dict[str, Any]:
    """Without secrets."""
    return {
        "action": step.action,
        "section": step.section,
        "name": step.name,
        "fields": _hide(step.fields),
        "before": step.before,
    }


def _hide(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: "(secret)" if name in SECRETS and each else _hide(each) for name, each in value.items()}


def _key(found: dict[str, Any]) -> str:
    return "username" if "username" in found else "name"
