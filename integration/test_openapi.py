"""The OpenAPI document as others use it: a fuzzer asks all that it describes, a browser shows its page."""

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postbus.runtime.settings import process_environment
from postbus.testing.installation import Platform, short_folder, start_platform
from postbus.testing.probes import assert_quiet_logs

FUZZ_SECONDS = 300
PAGE_SECONDS = 60
UNWANTED = (
    "positive_data_acceptance",  # more is wrong with a name than a schema can say: 400 tells it
)


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """Its own: the fuzzer deletes what it finds."""
    with short_folder() as folder:
        yield start_platform(folder)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is missing")
def test_the_docs_page_works_in_a_browser_and_asks_no_other_host(platform: Platform, tmp_path: Path) -> None:
    net_log = tmp_path / "net.json"
    done = subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--ignore-certificate-errors",  # of the installation's own authority
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--log-net-log={net_log}",
            "--virtual-time-budget=10000",
            "--dump-dom",
            f"{platform.admin_url}/api/v1/docs",
        ],
        capture_output=True,
        text=True,
        timeout=PAGE_SECONDS,
        check=True,
    )
    summaries = {operation["summary"] for path in _openapi(platform)["paths"].values() for operation in path.values()}
    assert len(summaries) > 30
    assert {summary for summary in summaries if summary not in done.stdout} == set()
    names = ("docs/docs.css", "docs/docs.js", "openapi.json")
    assert _asked_by_page(net_log, platform.admin_url) == {f"{platform.admin_url}/api/v1/{name}" for name in names}


def test_a_fuzzer_finds_no_fault_and_nothing_undocumented(platform: Platform, tmp_path: Path) -> None:
    """schemathesis: no 5xx, no undocumented status, media type, schema or method; nothing without the token."""
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{platform.admin_url}/api/v1/openapi.json",
            f"--header=Authorization: Bearer {platform.admin_token}",
            f"--tls-verify={platform.ca_file}",
            "--checks=all",
            f"--exclude-checks={','.join(UNWANTED)}",
            "--phases=examples,coverage,fuzzing",
            "--max-examples=15",
            "--warnings=off",
            "--seed=1",
        ],
        cwd=tmp_path,
        env={**process_environment(), "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path / "hypothesis")},
        capture_output=True,
        text=True,
        timeout=FUZZ_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    found = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", done.stdout)
    assert found is not None, done.stdout
    assert found[1] == found[2] == found[3]
    assert_quiet_logs(platform)


def _openapi(platform: Platform) -> Any:
    request = f"{platform.admin_url}/api/v1/openapi.json"
    with urllib.request.urlopen(request, timeout=PAGE_SECONDS, context=platform.tls()) as answer:
        return json.load(answer)


def _asked_by_page(net_log: Path, origin: str) -> set[str]:
    """What pages of that origin asked for, of whomever; the browser's own errands are not theirs."""
    log = json.loads(net_log.read_text())
    started = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    requests = [event.get("params", {}) for event in log["events"] if event["type"] == started]
    return {request["url"] for request in requests if request.get("initiator") == origin}
