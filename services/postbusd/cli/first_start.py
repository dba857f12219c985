"""The last step of a start, in a process of its own: the CA's certificate, then the first domain and mailboxes.

It speaks to the API as anybody would, so that what it makes is what an administrator could have made. It can be
repeated: everything is PUT. After it has succeeded once, later starts leave domains and mailboxes to the administrator.
"""

import sys
from pathlib import Path

from postbus.runtime.layout import Layout, StartError, make_private, write_private
from postbus.runtime.settings import RuntimeSettings, SettingsError, load_settings, process_environment
from postbus.runtime.supervisor_connection import DEMO_DOMAIN, DONE_FILE, make_demo_mailboxes
from postbusd.cli.api import connect_api, fetch_ca
from postbusd.cli.common import fail

API_LISTEN = "POSTBUS_ADMIN_API_LISTEN"


def main() -> int:
    """Runs the step with the settings of the environment; the exit code."""
    try:
        settings = load_settings(RuntimeSettings, "runtime")
        layout = Layout(root=Path(settings.data_dir), run=Path(settings.expand(settings.run_dir)))
        first_start(layout, f"https://{process_environment()[API_LISTEN]}", Path(settings.secrets_dir) / "admin-token")
    except (StartError, SettingsError, OSError) as error:
        return fail("up", error)
    return 0


def first_start(layout: Layout, url: str, token_file: Path) -> None:
    """Fetches the CA's certificate; at the first start makes domain and mailboxes. Raises StartError, OSError."""
    make_private(layout.tls)
    certificate = fetch_ca(url)
    if not layout.ca_file.exists() or layout.ca_file.read_bytes() != certificate:
        write_private(layout.ca_file, certificate, 0o644)
    done = layout.secrets / DONE_FILE
    if done.exists():
        return
    api = connect_api(url, token_file.read_text(encoding="ascii").strip(), str(layout.ca_file))
    api.put(f"/api/v1/domains/{DEMO_DOMAIN}", {"incoming": True})
    for mailbox in make_demo_mailboxes(layout):
        api.put(f"/api/v1/mailboxes/{mailbox.address}", {"password": mailbox.password})
    write_private(done, b"")


if __name__ == "__main__":
    sys.exit(main())
