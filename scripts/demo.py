"""Set CarSales up and serve it: what ``make demo`` runs.

Every step is skipped when its work is done already, so that running it again is quick and takes
nothing away. ``PORT`` chooses the port on the loopback address (default 8000).
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
SALES = {"1.0": 24, "1.1": 10}
"""How many sales each release of the site makes."""
SERVED = "1.1"
BEFORE = "0.9"
"""As which release the site is set up: what that records is no part of the two that are compared."""
SEED = 1
"""What the buyers of both releases choose: some cancel with either, so that only two receivers are new."""
ADMIN = "admin"
STARTED_HERE = time.time()


def main() -> None:
    os.chdir(REPOSITORY)
    sys.path.insert(0, str(REPOSITORY))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "carsales.settings")
    os.environ["CARSALES_RELEASE"] = BEFORE
    port = chosen_port()

    import django

    django.setup()
    migrate()
    load()
    password_note = make_admin()
    simulate()
    flush()
    sys.exit(serve(port, password_note))


def started() -> float:
    """Return when the person gave the command: make says so, and installs before this runs."""
    return float(os.environ.get("STARTED") or STARTED_HERE)


def chosen_port() -> int:
    """Return PORT as a number, or end with a message when it cannot be used."""
    text = os.environ.get("PORT") or "8000"
    if not text.isdecimal() or not 1 <= int(text) <= 65535:  # noqa: PLR2004 (the last port)
        sys.exit(f"PORT={text} is no port number.")
    port = int(text)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            sys.exit(
                f"Port {port} cannot be used ({error.strerror}). Try: make demo PORT={port + 1}"
            )
    return port


def set_aside_early_store() -> None:
    """Move a store aside that has tables from before the first release, which nothing migrates."""
    from django.db import connections

    connection = connections["tracing"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pragma_table_info('tracing_trace') WHERE name = 'details'")
        is_early = cursor.fetchone() is not None
    connection.close()
    if is_early:
        store = Path(connection.settings_dict["NAME"])
        kept = store.replace(store.with_suffix(".before-first-release.sqlite3"))
        print(f"Traces from before the first release: moved to {kept.name}")


def migrate() -> None:
    """Bring every database up to date."""
    from django.core.management import call_command

    set_aside_early_store()
    call_command("migrate", interactive=False, verbosity=0)
    print("Databases: up to date")


def load() -> None:
    """Load the cars; loading them again changes nothing."""
    from django.core.management import call_command

    call_command("load_cars")


def make_admin() -> str:
    """Make a superuser with a random password when there is none; return how to log in.

    The password is kept in a file that only its owner can read, so that it is still known on
    the next day.
    """
    from django.conf import settings
    from django.contrib.auth import get_user_model

    kept = Path(getattr(settings, "DATA_DIR", REPOSITORY), "var", "demo-password")
    users: Any = get_user_model()._default_manager  # noqa: SLF001 (Django's documented name)
    if users.filter(is_superuser=True).exists():
        if kept.exists():
            return f"{ADMIN} / {kept.read_text(encoding='ascii').strip()}"
        return "your superuser (./manage.py changepassword sets a new password)"
    password = secrets.token_urlsafe(9)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.touch(mode=0o600)
    kept.write_text(password + "\n", encoding="ascii")
    users.create_superuser(ADMIN, f"{ADMIN}@example.com", password)
    return f"{ADMIN} / {password}"


def simulate() -> None:
    """Let each release make its sales and the newer one its incidents, so that there is something to see.

    A release is a process of its own: it connects its receivers when it starts.
    """
    from django.apps import apps

    if apps.get_model("sales", "Sale")._default_manager.exists():  # noqa: SLF001
        print("Sales: there are some already")
        return
    for release, sales in SALES.items():
        print(f"Release {release} of CarSales sells {sales} orders:", flush=True)
        manage(release, "simulate", "--sales", str(sales), "--seed", str(SEED))
    manage(SERVED, "incidents")


def manage(release: str, *arguments: str) -> None:
    """Run a command of the site as that release; end as it ends where it fails."""
    environment = {**os.environ, "CARSALES_RELEASE": release}
    command = [sys.executable, "manage.py", *arguments]
    if status := subprocess.run(command, env=environment, check=False).returncode:
        sys.exit(status)


def flush() -> None:
    """Wait until what was traced so far is stored: another process is about to serve it."""
    import tracing

    tracing.flush()


def welcome(port: int, password_note: str, seconds: float) -> str:
    """Return what to open and how to log in."""
    base = f"http://127.0.0.1:{port}"
    return f"""
CarSales is ready after {seconds:.0f} s.

  {base}/          start here: seven questions; then buy a car and look at the toolbar
  {base}/lab/      the signal lab: one experiment for each lesson
  {base}/tracing/  the trace log viewer
  {base}/admin/    the admin

  Log in as:  {password_note}

Ctrl-C ends it.
"""


def serve(port: int, password_note: str) -> int:
    """Run Django's server, say what to open once it answers, and return its status."""
    command = [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
    server = subprocess.Popen(command, env={**os.environ, "CARSALES_RELEASE": SERVED})
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        while server.poll() is None and not is_answered(port):
            time.sleep(0.05)
        if server.poll() is None:
            print(welcome(port, password_note, time.time() - started()), flush=True)
        return server.wait()
    except KeyboardInterrupt:  # The server was interrupted, too.
        server.wait()
        raise


def is_answered(port: int) -> bool:
    """Return whether something listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    from django.core.management import CommandError

    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except CommandError as error:  # also what a command says when Ctrl-C ends it
        print(error, file=sys.stderr)
        sys.exit(error.returncode)
