"""CAPABILITY, NOOP, CHECK, LOGOUT, ID, ENABLE, NAMESPACE, STARTTLS, IDLE."""

from postbus.core.errors import RemoteProtocolError
from postbus.imap.commands.login import StartTls
from postbus.imap.commands.select import Check
from postbus.imap.commands.session import Capability, Enable, Id, Idle, Logout, Namespace, Noop
from postbus.imap.engine import Line
from postbus.imap.responses import format_untagged
from postbusd.imap_gateway.capabilities import ENABLED_BY_NAME
from postbusd.imap_gateway.errors import Reply, refuse, reject
from postbusd.imap_gateway.state import Goodbye, SessionState


async def handle_capability(session: SessionState, command: Capability) -> Reply:
    """RFC 9051 §6.1.1."""
    session.write(b"* %b\r\n" % session.capability_code())
    return Reply(text="Done")


async def handle_noop(session: SessionState, command: Noop | Check) -> Reply:
    """Asks the store; what is new is told after the command (RFC 9051 §6.1.2)."""
    if session.selected is not None:
        await session.deps.views.check(session.selected.view)
    return Reply(text="Done")


async def handle_logout(session: SessionState, command: Logout) -> Reply:
    """RFC 9051 §6.1.3."""
    await session.unselect()
    session.write(format_untagged(b"BYE", "Goodbye"))
    return Reply(text="Done")


async def handle_id(session: SessionState, command: Id) -> Reply:
    """RFC 2971 §3.2: the name alone; versions help attackers more than users."""
    session.write(b'* ID ("name" "Postbus")\r\n')
    return Reply(text="Done")


async def handle_enable(session: SessionState, command: Enable) -> Reply:
    """What can't be enabled is left out of the answer (RFC 5161 §3.2): IMAP4rev2, UTF8=ACCEPT and QRESYNC above all."""
    enabled = [name for name in ENABLED_BY_NAME if name in command.capabilities]
    if b"CONDSTORE" in enabled:
        session.enable_condstore()
    session.write(b" ".join((b"* ENABLED", *enabled)) + b"\r\n")
    return Reply(text="Done")


async def handle_namespace(session: SessionState, command: Namespace) -> Reply:
    """One personal namespace (RFC 9051 §6.3.10)."""
    session.write(b'* NAMESPACE (("" "/")) NIL NIL\r\n')
    return Reply(text="Done")


async def handle_starttls(session: SessionState, command: StartTls) -> Reply:
    """The handshake follows the reply (RFC 9051 §6.2.1)."""
    if session.wire.is_secure:
        return reject("TLS is there already")
    if not session.deps.tls_offered:
        return refuse("TLS is not offered here", b"UNAVAILABLE")
    return Reply(text="Begin TLS now")


async def handle_idle(session: SessionState, command: Idle) -> Reply:
    """News goes out at once until the client says DONE (RFC 9051 §6.3.13)."""
    session.write(b"+ idling\r\n")
    session.engine.expect_line()
    while True:
        await session.flush()
        try:
            event = session.engine.next_event()
        except RemoteProtocolError as error:
            raise Goodbye(str(error)) from error
        if isinstance(event, Line):
            break
        if not await session.wait_input(for_news=True):
            _tell_news(session)
    if event.data.upper() != b"DONE":
        return reject("Expected DONE")
    return Reply(text="Done")


def _tell_news(session: SessionState) -> None:
    selected = session.require_selected()
    if selected.view.gone:
        raise Goodbye("The selected folder is gone")
    session.write(selected.format_news(True, session.condstore))
