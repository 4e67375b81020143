"""The servers and programs that some tests need, and what happens where one is absent.

A test that needs one is skipped with a plain reason, or failed when ``REQUIRE_SERVICES`` is set,
as it is in CI: there a missing server must not look like a passing test. Host, port, user and
password come from ``POSTGRESQL_HOST`` and so on, with the usual local defaults.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import NoReturn

import pytest

PATIENCE = 20
"""Seconds for the first answer: a busy server takes its time, an absent one refuses at once."""


@dataclass(frozen=True)
class Service:
    """A server's address and account."""

    name: str
    host: str
    port: int
    user: str
    password: str

    def unreachable_because(self) -> str:
        """Return why the server cannot be used, or an empty string when it answers."""
        try:
            with socket.create_connection((self.host, self.port), timeout=PATIENCE) as connection:
                connection.settimeout(PATIENCE)
                CONVERSATIONS[self.name](connection, self)
        except Exception as error:  # noqa: BLE001 (whatever a driver raises, the answer is no)
            return f"{self.name} at {self.host}:{self.port} does not answer: {error}"
        return ""


def _talk_to_postgresql(_connection: socket.socket, service: Service) -> None:
    import psycopg

    psycopg.connect(
        host=service.host,
        port=service.port,
        user=service.user,
        password=service.password or None,
        dbname="postgres",
        connect_timeout=PATIENCE,
    ).close()


def _talk_to_mariadb(_connection: socket.socket, service: Service) -> None:
    import pymysql

    pymysql.connect(
        host=service.host,
        port=service.port,
        user=service.user,
        password=service.password,
        connect_timeout=PATIENCE,
    ).close()


def _talk_to_redis(connection: socket.socket, _service: Service) -> None:
    connection.sendall(b"PING\r\n")
    answer = connection.recv(64)
    if not answer.startswith((b"+PONG", b"-NOAUTH")):
        raise ConnectionError(f"it answers PING with {answer!r}")


def _talk_to_rabbitmq(connection: socket.socket, _service: Service) -> None:
    connection.sendall(b"AMQP\x00\x00\x09\x01")
    # Connection.Start is a method frame (type 1) of channel 0.
    answer = connection.recv(3)
    if answer != b"\x01\x00\x00":
        raise ConnectionError(f"it answers the AMQP header with {answer!r}")


CONVERSATIONS = {
    "postgresql": _talk_to_postgresql,
    "mariadb": _talk_to_mariadb,
    "redis": _talk_to_redis,
    "rabbitmq": _talk_to_rabbitmq,
}

DEFAULTS = {
    "postgresql": (5432, "postgres", ""),
    "mariadb": (3306, "root", ""),
    "redis": (6379, "", ""),
    "rabbitmq": (5672, "guest", "guest"),
}


def service(name: str) -> Service:
    """Return the address of a service by its name: postgresql, mariadb, redis or rabbitmq."""
    port, user, password = DEFAULTS[name]
    prefix = name.upper()
    return Service(
        name=name,
        host=os.environ.get(f"{prefix}_HOST", "127.0.0.1"),
        port=int(os.environ.get(f"{prefix}_PORT", port)),
        user=os.environ.get(f"{prefix}_USER", user),
        password=os.environ.get(f"{prefix}_PASSWORD", password),
    )


@cache
def _unreachable_because(wanted: Service) -> str:
    return wanted.unreachable_because()


def require_service(name: str) -> Service:
    """Return the service, or skip the calling test (fail it with REQUIRE_SERVICES=1)."""
    wanted = service(name)
    if reason := _unreachable_because(wanted):
        give_up(reason)
    return wanted


def require_program(*names: str) -> str:
    """Return the path of the first program present, or skip (fail with REQUIRE_SERVICES=1)."""
    if paths := [path for name in names if (path := shutil.which(name))]:
        return paths[0]
    return give_up(f"none of these programs is installed: {', '.join(names)}")


def require_chdb() -> str:
    """Return a Python that has ``chdb``: CHDB_PYTHON names one, else the running one."""
    python = os.environ.get("CHDB_PYTHON", "")
    if not python and find_spec("chdb") is None:
        give_up("there is no chdb here; CHDB_PYTHON names a Python that has it")
    if python and not os.access(python, os.X_OK):
        give_up(f"CHDB_PYTHON is {python}, which cannot be run")
    return python or sys.executable


def give_up(reason: str) -> NoReturn:
    """Skip the calling test, or fail it where services are required."""
    if os.environ.get("REQUIRE_SERVICES", "0") not in {"", "0"}:
        pytest.fail(f"REQUIRE_SERVICES is set, but {reason}", pytrace=False)
    pytest.skip(reason)
