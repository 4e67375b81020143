"""The environment of a deployment of CarSales, and what follows.

- `CARSALES_SECRET_KEY`: the secret key. Without it one is made on first use and kept in `var/`.
- `CARSALES_DEBUG`: `0` or `1`. On by default: this is a demo on the loopback address.
- `CARSALES_ALLOWED_HOSTS`: host names, separated by commas.
- `CARSALES_RELEASE`: `1.0`, or `1.1`, which has mistakes for the tracer to find. Default: `1.0`.
- `CARSALES_DATA_DIR`: where the databases, the logs and the secret key go. Default: the checkout.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import structlog

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("CARSALES_DATA_DIR") or BASE_DIR)
LOG_DIR = DATA_DIR / "logs"
LOG_DIR.mkdir(parents=True, exist_ok=True)
RELEASE = os.environ.get("CARSALES_RELEASE") or "1.0"
DEBUG = os.environ.get("CARSALES_DEBUG", "1") == "1"


def secret_key() -> str:
    """Return the key of the environment, else that which is kept."""
    return os.environ.get("CARSALES_SECRET_KEY") or _kept_secret_key()


def listed(name: str, default: str) -> list[str]:
    """Return the comma-separated values of an environment variable."""
    return [value.strip() for value in os.environ.get(name, default).split(",") if value.strip()]


def sqlite(name: str) -> dict[str, Any]:
    """Return the entry of ``DATABASES`` for a file in the data folder.

    IMMEDIATE takes SQLite's one write lock when a transaction begins. With the default, two
    transactions that read first and write later would both read "not sold", and one of them would
    fail with "database is locked" instead of waiting for its turn.
    """
    options = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,  # seconds to wait for the write lock
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": DATA_DIR / name, "OPTIONS": options}


def logging_to(name: str) -> dict[str, Any]:
    """Return ``LOGGING`` with a file of JSON lines in the folder of logs.

    Each line has the ids of its trace: the tracer finds it there (``APPLICATION_LOGS``).
    """
    line = structlog.stdlib.ProcessorFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": line,
                "foreign_pre_chain": [
                    structlog.processors.TimeStamper("iso"),
                    structlog.stdlib.add_log_level,
                    structlog.stdlib.add_logger_name,
                    structlog.stdlib.ExtraAdder(["trace_id", "span_id"]),
                ],
                "processors": [
                    line.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    structlog.processors.JSONRenderer(),
                ],
            },
        },
        "filters": {"trace": {"()": "tracing.log.TraceIds"}},
        "handlers": {
            "file": {
                "class": "logging.FileHandler",
                "filename": LOG_DIR / name,
                "filters": ["trace"],
                "formatter": "json",
                "delay": True,
                "encoding": "utf-8",
            },
        },
        "loggers": {
            "core": {"handlers": ["file"], "level": "INFO", "propagate": False},
            # `send_robust` logs every failed receiver with its traceback. One of CarSales' receivers
            # fails on purpose with every sale, which would bury the terminal.
            "django.dispatch": {"handlers": ["file"], "level": "ERROR", "propagate": False},
        },
    }


def _kept_secret_key() -> str:
    """Return the key kept in `var/secret_key`, and make one on first use."""
    path = DATA_DIR / "var" / "secret_key"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # Written beside and linked into place: of two processes that start together the first
        # wins, and neither reads a half-written key.
        draft = path.with_name(f"secret_key.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(50), encoding="ascii")
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text(encoding="ascii")
