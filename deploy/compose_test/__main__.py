"""`make compose-test`: the whole of compose.yaml on a real container engine, with mail.

Builds the image, prepares a folder with `postbus init`, starts everything, looks at every container (user, root,
capabilities, secrets, networks), makes a domain and mailboxes, sends by 25, 587 and 465, reads and searches by IMAP;
restarts all, kills all with SIGKILL under load, drains an smtp-edge with a message under way, scales it to 2; every
message that was answered with 250 must be there exactly once, and the ledger must balance. Nothing is left.

ENGINE names the folder of engine-up.sh (default: ../shared/engine, used where no engine runs), PYTHON_VERSION the base.
"""

import json
import os
import signal
import smtplib
import sys
import threading
import time
from pathlib import Path
from typing import Any

import checks
from engine import Engine, NoEngineError, base_image, find_engine
from mail import IO_SECONDS, STRANGER, Mailboxes, Sender
from shell import TrialError, run, say, warn
from stack import ADDRESS, IMAGE, MAIL_HOST, Stack, postbus, python_path

ROOT = Path(__file__).resolve().parents[2]
TOTAL_SECONDS = 20 * 60
BUILD_SECONDS = 600.0
DOMAIN = "compose.example"
ANN, BOB = f"ann@{DOMAIN}", f"bob@{DOMAIN}"
MESSAGES = 10
LOAD_SECONDS = 5.0
LEDGER_SECONDS = 60.0
RESTART_SECONDS = 60.0


def main() -> int:
    """0: all is well, or there is no engine; 1: something is wrong."""
    signal.signal(signal.SIGALRM, _on_alarm)
    signal.alarm(TOTAL_SECONDS)
    try:
        engine = find_engine(ROOT)
    except NoEngineError as error:
        print(f"compose-test: skipped: {error}")
        return 0
    try:
        return _run(engine)
    finally:
        engine.close()


def _run(engine: Engine) -> int:
    if not _build(engine):
        return 0
    stack = Stack(engine, ROOT)
    try:
        _trial(stack)
    except Exception as error:
        stack.explain()
        warn(f"compose-test: {type(error).__name__}: {error}")
        return 1
    finally:
        signal.alarm(0)
        stack.close()
    say("all is well")
    return 0


def _on_alarm(_: int, __: object) -> None:
    raise TrialError(f"not done after {TOTAL_SECONDS} s")


def _build(engine: Engine) -> bool:
    """Whether the image was made; what it is made from may be out of reach."""
    python = engine.choose_python()
    settings = dict(line.split("=", 1) for line in (ROOT / ".env").read_text().splitlines() if line[:6] == "IMAGE_")
    needed = (base_image(python), settings["IMAGE_POSTGRES"], settings["IMAGE_NATS"])
    absent = engine.need_images(needed, python)
    if absent:
        print(f"compose-test: skipped: can't be had here: {', '.join(absent)}")
        return False
    say(f"building the image on {base_image(python)}")
    build = (
        "build",
        "--quiet",
        "--file",
        "deploy/Dockerfile",
        "--tag",
        IMAGE,
        "--build-arg",
        f"PYTHON_VERSION={python}",
    )
    run(("docker", *build, "."), engine.environment, folder=ROOT, seconds=BUILD_SECONDS)
    octets = [int(engine.docker("image", "inspect", "--format", "{{.Size}}", name)) for name in (IMAGE, needed[0])]
    say(f"image: {octets[0] / 1e6:.0f} MB, {(octets[0] - octets[1]) / 1e6:.0f} MB of them ours")
    return True


def _trial(stack: Stack) -> None:
    _init(stack)
    say(f"all healthy after {stack.up():.0f} s")
    mailboxes = _make_mailboxes(stack)
    checks.check_hardening(stack)
    checks.check_inside(stack)
    say("containers: no root, no capabilities, read-only, own secrets only, limits")
    checks.tell_memory(stack)
    _exchange(stack, mailboxes)
    _restart(stack, mailboxes)
    _kill(stack, mailboxes)
    _crash_one(stack, mailboxes)
    _drain(stack, mailboxes)
    _scale(stack, mailboxes)
    checks.check_hardening(stack)
    checks.check_profiles(stack)


def _init(stack: Stack) -> None:
    environment = {**stack.environment, **python_path(ROOT)}
    init = postbus(ROOT, "init", "--dir", str(stack.folder))
    run((*init, "--mail-host", MAIL_HOST), environment)
    if "nothing changed" not in run(init, environment):
        raise TrialError("a second `postbus init` changes something")
    say(f"prepared {stack.folder}")


def _make_mailboxes(stack: Stack) -> Mailboxes:
    """Domain and mailboxes, by the command line inside and outside the containers."""
    ca_pem = stack.compose("exec", "-T", "admin-api", "postbus", "ca")
    (stack.folder / "ca.pem").write_text(ca_pem)
    stack.compose("exec", "-T", "admin-api", "postbus", "domain", "add", DOMAIN)
    passwords = {ANN: f"ann-{os.urandom(8).hex()}", BOB: f"bob-{os.urandom(8).hex()}"}
    for address, password in passwords.items():
        stack.command("mailbox", "add", address, "--password", password)
    stack.command("status")
    say(f"made {DOMAIN}, {ANN}, {BOB}")
    return Mailboxes(ca_pem, stack.imaps, passwords)


def _exchange(stack: Stack, mailboxes: Mailboxes) -> None:
    for _ in range(MESSAGES):
        mailboxes.send(stack.port("smtp"), ANN)
    mailboxes.submit(stack.port("submission"), ANN, BOB, within_tls=False)
    mailboxes.submit(stack.port("submissions"), BOB, ANN, within_tls=True)
    count = mailboxes.expect_everything()
    mailboxes.expect_search(ANN)
    with smtplib.SMTP(timeout=IO_SECONDS) as client:
        client.connect(ADDRESS, stack.port("submission"))
        client._host = MAIL_HOST  # type: ignore[attr-defined]  # the name that the certificate is verified for
        client.starttls(context=mailboxes.tls)
    _expect_balance(stack)
    say(f"sent by 25, 587 and 465, read and searched by IMAP: {count} messages")


def _restart(stack: Stack, mailboxes: Mailboxes) -> None:
    started = time.monotonic()
    stack.compose("restart")
    stack.up()
    _expect_clean_ends(stack)
    mailboxes.send(stack.port("smtp"), BOB)
    count = mailboxes.expect_everything()
    _expect_balance(stack)
    say(f"restarted in {time.monotonic() - started:.0f} s: {count} messages, each once")


def _kill(stack: Stack, mailboxes: Mailboxes) -> None:
    """SIGKILL for everything at once, Postgres and NATS too, while mail comes in."""
    senders = [Sender(mailboxes, stack.port("smtp"), address) for address in (ANN, BOB)]
    for sender in senders:
        sender.start()
    time.sleep(LOAD_SECONDS)
    stack.engine.docker("kill", "--signal", "KILL", *stack.compose("ps", "--quiet").split())
    stack.up()
    time.sleep(LOAD_SECONDS)
    for sender in senders:
        sender.end()
    count = mailboxes.expect_everything()
    _expect_balance(stack)
    say(f"killed all under load ({sum(each.failures for each in senders)} tries failed): {count} messages, each once")


def _crash_one(stack: Stack, mailboxes: Mailboxes) -> None:
    """A process that dies is started again by the engine alone."""
    crashed = ("delivery", "directory")
    before = stack.containers(crashed)
    try:
        for inspected in before.values():
            os.kill(inspected["State"]["Pid"], signal.SIGKILL)
    except (PermissionError, ProcessLookupError):
        say("crash of single processes: skipped: the engine's processes can't be reached from here")
        return
    deadline = time.monotonic() + RESTART_SECONDS
    while not _have_restarted(before, stack.containers(crashed)):
        if time.monotonic() > deadline:
            raise TrialError("a container that crashed was not restarted by its policy")
        time.sleep(0.5)
    stack.up("--no-recreate")
    mailboxes.send(stack.port("smtp"), ANN)
    mailboxes.expect_everything()
    say(f"crashed {' and '.join(crashed)}: started again by themselves")


def _have_restarted(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return all(name in after and after[name]["RestartCount"] > each["RestartCount"] for name, each in before.items())


def _drain(stack: Stack, mailboxes: Mailboxes) -> None:
    """SIGTERM in the middle of a message: the message is taken, then the session ends."""
    client = smtplib.SMTP(ADDRESS, stack.port("smtp"), timeout=IO_SECONDS)
    client.ehlo()
    client.mail(STRANGER)
    client.rcpt(ANN)
    client.docmd("DATA")
    word, message = mailboxes.make(STRANGER, ANN)
    mailboxes.offered[ANN].add(word)
    content = message.as_bytes().replace(b"\n", b"\r\n")
    client.send(content[:100])
    stopping = threading.Thread(target=stack.compose, args=("stop", "smtp-edge"))
    stopping.start()
    time.sleep(2.0)
    client.send(content[100:] + b"\r\n.\r\n")
    code, answer = client.getreply()
    client.close()
    stopping.join()
    if code != 250:
        raise TrialError(f"a message under way at SIGTERM got {code} {answer!r}")
    mailboxes.accepted[ANN].add(word)
    stack.up()
    mailboxes.expect_everything()
    say("stopped smtp-edge with a message under way: it was taken first")


def _scale(stack: Stack, mailboxes: Mailboxes) -> None:
    stack.up("--scale", "smtp-edge=2", "--no-recreate")
    names = list(stack.containers(("smtp-edge",)))
    if len(names) != 2:
        raise TrialError(f"smtp-edge runs in {names}")
    for index in (1, 2):
        for _ in range(MESSAGES):
            mailboxes.send(stack.port("smtp", index), BOB)
        mailboxes.submit(stack.port("submission", index), BOB, ANN, within_tls=False)
    count = mailboxes.expect_everything()
    _expect_balance(stack)
    say(f"two smtp-edge: {count} messages, each once")


def _expect_clean_ends(stack: Stack) -> None:
    """Every service heard SIGTERM as process 1 and drained. Raises TrialError."""
    for service in (
        "directory",
        "dns-provisioner",
        "filter",
        "delivery",
        "indexer",
        "smtp-edge",
        "imap-gateway",
        "admin-api",
    ):
        log = stack.compose("logs", "--no-log-prefix", "--no-color", service)
        for event in ("host.draining", "host.ended"):
            if f'"event":"{event}"' not in log:
                raise TrialError(f"{service} did not end well: no {event} in its log")


def _expect_balance(stack: Stack) -> None:
    """The ledger balances, with nothing on its way. Raises TrialError."""
    deadline = time.monotonic() + LEDGER_SECONDS
    while True:
        try:
            ledger = json.loads(stack.command("ledger", "--json"))
        except TrialError as error:
            if time.monotonic() > deadline:
                raise TrialError(f"the ledger does not balance: {error}") from error
        else:
            if ledger["balanced"] or time.monotonic() > deadline:
                break
        time.sleep(1.0)
    if not ledger["balanced"]:
        raise TrialError(f"the ledger does not balance: {ledger}")


if __name__ == "__main__":
    sys.exit(main())
