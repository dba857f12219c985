"""Retention: what is old goes, in batches; what is not stays."""

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from postbus.runtime.sealing import Sealer
from postbus.testing.admin_api import MemoryAdminStore, make_event
from postbus.testing.admin_audit import AT_MS, DAY_MS, make_entry
from postbus.testing.admin_directory import MemoryDirectoryAdmin
from postbus.testing.admin_sessions import make_session
from postbus.testing.directory import ManualClock
from postbusd.admin_api import retention
from postbusd.admin_api.audit_ports import AuditQuery
from postbusd.admin_api.ports import EventQuery
from postbusd.admin_api.repeats import Repeats
from postbusd.admin_api.retention import Retention
from postbusd.admin_api.sessions import Sessions
from postbusd.admin_api.settings import AdminApiSettings


async def test_what_is_old_goes_in_batches(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 2)
    caplog.set_level("INFO")
    store, clock, registry, pauses = MemoryAdminStore(), ManualClock(), CollectorRegistry(), []
    now_ms = clock.now_ms()
    ages = (40, 31, 31, 31, 30, 1)
    events = [msgspec.structs.replace(make_event(n), at_ms=now_ms - age * DAY_MS) for n, age in enumerate(ages)]
    await store.add_events(events)
    for age in (800, 20, 8, 6):
        store.now_ms = AT_MS - age * DAY_MS
        await store.begin_audit(make_entry("a.example"))
    store.now_ms = AT_MS

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    settings = AdminApiSettings(event_days=30, audit_days=7)
    for number, used_ms in enumerate((now_ms - DAY_MS, now_ms)):
        session = msgspec.structs.replace(make_session(number), last_used_ms=used_ms, expires_ms=now_ms + DAY_MS)
        await store.add_session(bytes([number]) * 32, session, 10)
    sessions = Sessions(store, store, MemoryDirectoryAdmin(), clock, settings, registry)
    await store.claim_repeat("kim", "old", b"f", now_ms - 2 * DAY_MS)
    repeats = Repeats(store, Sealer(bytes(32)), clock)
    await Retention(store, (sessions, repeats), clock, registry, settings, sleep).trim()
    assert list((await store.list_events(EventQuery(after=None, limit=10))).events) == events[4:]
    assert len(await store.list_audit(AuditQuery(limit=10))) == 1
    assert [each.session_id for each in await store.list_sessions("kim")] == ["session-1"]
    for name, rows in (("events", 4), ("audit", 3), ("sessions", 1), ("repeats", 1)):
        assert registry.get_sample_value("postbus_admin_api_trimmed_rows_total", {"log": name}) == rows
    assert len(pauses) == 6
    assert [record.message for record in caplog.records] == ["admin_api.log.trimmed"] * 4
