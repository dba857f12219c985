"""Debian's Postfix for tests: `smtp-sink`, and a whole private Postfix that delivers into a maildir.

The private one has its own settings and queue folder, listens on loopback and is ended with all that it started; the
package's own instance is never touched. It needs root, as Postfix does.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from postbus.runtime.settings import process_environment

START_SECONDS = 20.0
_DAEMONS = Path("/usr/lib/postfix/sbin")

_SERVICES = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


class PrivatePostfix(msgspec.Struct, frozen=True, kw_only=True):
    """A running Postfix."""

    port: int
    maildir: Path
    log: Path

    def wait_messages(self, count: int) -> list[bytes]:
        """What was delivered, with Postfix's own fields in front, once there are that many."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            found = sorted(self.maildir.glob("new/*"))
            if len(found) >= count:
                return [path.read_bytes() for path in found]
            time.sleep(0.05)
        raise AssertionError(f"{count} messages did not come:\n{self.log.read_text()}")


def has_private_postfix() -> bool:
    """Whether one can be run here."""
    return (_DAEMONS / "master").exists() and os.geteuid() == 0


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def running_postfix(folder: Path, settings: Mapping[str, str]) -> Iterator[PrivatePostfix]:
    """Takes mail for peer.example, and from who logs in for anybody; puts all of it into one maildir.

    `folder` must be enterable for user postfix; `settings` are those of main.cf.
    """
    port = free_port()
    config, queue, data, mail = (folder / name for name in ("config", "queue", "data", "mail"))
    for path in (config, queue, data, mail):
        path.mkdir(mode=0o755)
    shutil.chown(data, "postfix")
    shutil.chown(mail, "postfix", "postfix")
    uid, gid = mail.stat().st_uid, mail.stat().st_gid
    log = folder / "postfix.log"
    main = {
        "compatibility_level": "3.6",
        "queue_directory": str(queue),
        "data_directory": str(data),
        "command_directory": "/usr/sbin",
        "daemon_directory": str(_DAEMONS),
        "maillog_file": str(log),
        "maillog_file_prefixes": str(folder),
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        "myhostname": "mx.peer.example",
        "mydestination": "",
        "mynetworks": "",
        "alias_maps": "",
        "alias_database": "",
        "virtual_mailbox_domains": "static:all",
        "virtual_mailbox_maps": "static:all/",
        "virtual_mailbox_base": str(mail),
        "virtual_minimum_uid": str(uid),
        "virtual_uid_maps": f"static:{uid}",
        "virtual_gid_maps": f"static:{gid}",
        "smtpd_relay_restrictions": (
            "permit_sasl_authenticated, check_recipient_access inline:{peer.example=OK}, reject"
        ),
        **settings,
    }
    _make_queue(queue)
    (config / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in main.items()))
    (config / "master.cf").write_text(_SERVICES.format(port=port))
    process = subprocess.Popen(
        [str(_DAEMONS / "master"), "-d", "-c", str(config)],
        env={**process_environment(), "LC_ALL": "C"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # On SIGTERM it ends its whole process group: it must have one of its own.
        start_new_session=True,
    )
    try:
        wait_port(port, process, log)
        yield PrivatePostfix(port=port, maildir=mail / "all", log=log)
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _make_queue(queue: Path) -> None:
    """What `postfix start` would make, and look through the whole package for two seconds."""
    (queue / "pid").mkdir()
    for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved"):
        _make_owned(queue / name, 0o700, "postfix")
    _make_owned(queue / "trace", 0o700, "postfix")
    _make_owned(queue / "maildrop", 0o730, "postfix", "postdrop")
    _make_owned(queue / "public", 0o710, "postfix", "postdrop")


def _make_owned(path: Path, mode: int, user: str, group: str = "root") -> None:
    path.mkdir()
    shutil.chown(path, user, group)
    path.chmod(mode)


def wait_port(port: int, process: subprocess.Popen[bytes], log: Path | None = None) -> None:
    """Returns when the process listens there."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    text = log.read_text() if log is not None and log.exists() else ""
    raise AssertionError(f"nothing listens on port {port}:\n{text}")


@contextlib.contextmanager
def running_sink(*options: str, folder: Path | None = None) -> Iterator[int]:
    """`smtp-sink` with options; its port. With `folder`, each transaction becomes a file `taken.*` there.

    As root it runs as user nobody, who must be able to write into `folder`.
    """
    port = free_port()
    keep = ("-d", str(folder / "taken.")) if folder is not None else ()
    unprivileged = ("-u", "nobody") if os.geteuid() == 0 else ()
    command = ["smtp-sink", *unprivileged, *options, *keep, f"127.0.0.1:{port}", "100"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_port(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(START_SECONDS)


@contextlib.contextmanager
def running_dovecot_auth(path: Path, users: Mapping[str, str]) -> Iterator[None]:
    """Answers Postfix's questions about PLAIN passwords as Dovecot would (its authentication protocol 1.1)."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        thread = threading.Thread(target=_serve_logins, args=(listener, users), name="dovecot-auth")
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve_logins(listener: socket.socket, users: Mapping[str, str]) -> None:
    with contextlib.ExitStack() as connections:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.enter_context(connection)
            threading.Thread(target=_answer_logins, args=(connection, users), daemon=True).start()


def _answer_logins(connection: socket.socket, users: Mapping[str, str]) -> None:
    import base64

    wanted = {f"\0{name}\0{password}".encode(): name for name, password in users.items()}
    hello = ("VERSION\t1\t1", "MECH\tPLAIN\tplaintext", "SPID\t1", "CUID\t1", "COOKIE\t00", "DONE")
    with contextlib.suppress(OSError), connection.makefile("rw", newline="\n") as lines:
        lines.write("\n".join(hello) + "\n")
        lines.flush()
        for line in lines:
            verb, *words = line.rstrip("\n").split("\t")
            if verb == "AUTH":
                response = next(word.partition("=")[2] for word in words if word.startswith("resp="))
                name = wanted.get(base64.b64decode(response + "=" * (-len(response) % 4)))
                lines.write(f"OK\t{words[0]}\tuser={name}\n" if name else f"FAIL\t{words[0]}\n")
                lines.flush()
