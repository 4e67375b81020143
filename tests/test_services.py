"""What becomes of a test whose service is absent, and that the services here are the real ones."""

from __future__ import annotations

import socket

import pytest

from tests import services
from tests.services import Service, require_program, require_service


@pytest.fixture
def closed_port(monkeypatch):
    """Make Redis' port one where nothing answers."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("REDIS_PORT", str(unused.getsockname()[1]))
        yield


@pytest.mark.usefixtures("closed_port")
def test_require_service_without_the_server(monkeypatch):
    monkeypatch.delenv("REQUIRE_SERVICES", raising=False)

    with pytest.raises(pytest.skip.Exception, match=r"redis at 127\.0\.0\.1:\d+ does not answer"):
        require_service("redis")


@pytest.mark.usefixtures("closed_port")
def test_require_service_without_the_server_where_services_are_required(monkeypatch):
    monkeypatch.setenv("REQUIRE_SERVICES", "1")

    with pytest.raises(pytest.fail.Exception, match="REQUIRE_SERVICES is set, but redis"):
        require_service("redis")


def test_require_program_that_is_not_installed(monkeypatch):
    monkeypatch.setenv("REQUIRE_SERVICES", "1")

    with pytest.raises(pytest.fail.Exception, match="no-such-program, nor-this"):
        require_program("no-such-program", "nor-this")


def test_require_service_with_another_server_on_the_port(monkeypatch):
    monkeypatch.setattr(services, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        reason = Service("redis", "127.0.0.1", port, "", "").unreachable_because()

    assert reason.startswith(f"redis at 127.0.0.1:{port} does not answer: ")


@pytest.mark.parametrize("name", ["postgresql", "mariadb", "redis", "rabbitmq"])
@pytest.mark.services
def test_require_service_with_the_server_present(name):
    assert require_service(name).name == name
