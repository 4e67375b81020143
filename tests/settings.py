"""CarSales' settings, as the tests run them.

``TEST_DATABASE`` chooses the server under every alias: sqlite (default), postgresql or mariadb.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

# Never coverage beside greenlet (pyproject.toml): structlog imports it where it is there.
if "coverage" in sys.modules and sys.modules["coverage"].Coverage.current():
    sys.modules.setdefault("greenlet", None)  # type: ignore[arg-type]

RAM_DISK = "/dev/shm"
GIGABYTE = 1024**3


def has_ram_disk(path: str = RAM_DISK) -> bool:
    """Return whether files of tests can lie in memory: there is room, and what lies there may be run."""
    if not os.access(path, os.W_OK):
        return False
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize >= 2 * GIGABYTE and not disk.f_flag & os.ST_NOEXEC


# Nothing here need survive a loss of power, and a commit to a disk takes longer than most tests.
if "TMPDIR" not in os.environ and has_ram_disk():
    os.environ["TMPDIR"] = RAM_DISK
    tempfile.tempdir = None

# A folder of this process, not a fixed one: Django removes a stale test database but not its
# write-ahead log, and SQLite would replay that log into the next database of the same name.
_scratch = Path(tempfile.mkdtemp(prefix="carsales-tests-"))
atexit.register(shutil.rmtree, _scratch, ignore_errors=True)
# Databases, logs and the secret key of the developer's own checkout stay untouched.
os.environ["CARSALES_DATA_DIR"] = str(_scratch)
# What the terminal is like, and what pytest-xdist says of it to its workers, is no matter of a test.
for _variable in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "CARSALES_RELEASE"):
    os.environ.pop(_variable, None)

from carsales.settings import *  # noqa: E402, F403
from carsales.settings import DATABASES, LOGGING, STATIC_ROOT, TRACING  # noqa: E402

# Open from the start: a test that interrupts its own thread would leave behind what is just opening.
LOGGING["handlers"]["file"]["delay"] = False

# WhiteNoise warns when it is not there; the files themselves come from the apps.
STATIC_ROOT.mkdir(parents=True, exist_ok=True)

# Static files are looked for when they are asked for, not by each new client of a test.
WHITENOISE_AUTOREFRESH = True

# Hashing is not what is tested, and it is most of the cost of a sign-up.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# A test that wants its traces stored and logged asks for the fixture ``recording``.
TRACING_OF_CARSALES = TRACING
TRACING = {**TRACING, "ENABLED": False, "EXPORTERS": []}
# Not a matter of how busy the machine is that runs the tests.
TRACING["VIEWER"] = {**TRACING.get("VIEWER", {}), "MAX_SECONDS": 600}

_server = os.environ.get("TEST_DATABASE", "sqlite")
if _server == "sqlite":
    for _alias, _database in DATABASES.items():
        # In files, not in memory: threads then meet the same locks as in production.
        _database.setdefault("TEST", {})["NAME"] = str(_scratch / f"test_{_alias}.sqlite3")
elif _server in {"postgresql", "mariadb"}:
    from tests.services import service

    _service = service(_server)
    if _server == "mariadb":
        import pymysql

        pymysql.install_as_MySQLdb()
    for _alias in DATABASES:
        DATABASES[_alias] = {
            "ENGINE": f"django.db.backends.{'mysql' if _server == 'mariadb' else _server}",
            "NAME": "postgres" if _server == "postgresql" else "",
            "HOST": _service.host,
            "PORT": _service.port,
            "USER": _service.user,
            "PASSWORD": _service.password,
            "OPTIONS": {"charset": "utf8mb4"} if _server == "mariadb" else {},
            # The process id keeps two runs on one server apart.
            "TEST": {"NAME": f"test_carsales_{_alias}_{os.getpid()}"},
        }
else:
    raise ValueError(f"TEST_DATABASE={_server} is none of sqlite, postgresql, mariadb")
