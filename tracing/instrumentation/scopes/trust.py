"""Senders whose sampling decision is followed: those of ``traceparent``.

Anybody can send the header. Its id is only a name; its flag would let a visitor hide his requests, or
have each of them recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from inspect import isawaitable
from io import BytesIO
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest

from tracing.instrumentation.failures import failed, is_own

Network = IPv4Network | IPv6Network
TrustRule = Callable[[Any], object]

LOCAL: Final = "unix"
"""In the place of a network: a peer without an address, as that of a Unix socket."""


def parse_networks(given: Iterable[object]) -> tuple[list[Network], bool]:
    """Return the networks in *given*, and whether no address is trusted.

    Raises:
        ValueError: If an entry is no network; the message names it.
    """
    networks: list[Network] = []
    trusts_local = False
    for entry in given:
        if entry == LOCAL:
            trusts_local = True
            continue
        try:
            # Given a number, it would make an address of it.
            networks.append(ip_network(entry.strip() if isinstance(entry, str) else repr(entry)))
        except ValueError as error:
            msg = f"{entry!r} is no network: {error}"
            raise ValueError(msg) from error
    return networks, trusts_local


def trust_networks(given: Iterable[object]) -> TrustRule:
    """Return a rule that trusts peers in the networks *given*."""
    networks, trusts_local = parse_networks(given)

    @lru_cache(maxsize=1_000)
    def is_trusted(address: str) -> bool:
        if not address:
            return trusts_local
        try:
            parsed = ip_address(address)
        except ValueError as error:
            if not is_own(error):
                raise
            return False
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            # A socket that takes both calls an IPv4 peer so.
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in networks)

    def rule(request: Any) -> bool:
        return is_trusted(str(request.META.get("REMOTE_ADDR") or ""))

    return rule


class _Peer:
    """The parts of a request that a rule about networks asks for."""

    __slots__ = ("META",)

    def __init__(self, address: str) -> None:
        self.META = {"REMOTE_ADDR": address}


class Trust:
    """The rule in force: none trusts nobody."""

    __slots__ = ("_asks_request", "_rule")

    def __init__(self, rule: TrustRule | None = None, *, asks_request: bool = True) -> None:
        self._rule = rule
        self._asks_request = asks_request

    def __call__(self, named: Mapping[str, Any]) -> bool:
        """Return whether the sender of a request is trusted. Never raises.

        Args:
            named: What ``request_started`` carries: a WSGI environ or an ASGI scope.
        """
        if self._rule is None:
            return False
        try:
            request = _request(named) if self._asks_request else _Peer(_address(named))
            answer = self._rule(request)
            if isawaitable(answer):
                # True of itself, whatever it would say.
                getattr(answer, "close", int)()
                return False
            return bool(answer)
        except Exception as error:
            failed("TRUSTED_PARENTS", error)
            return False


def _address(named: Mapping[str, Any]) -> str:
    environ = named.get("environ")
    if isinstance(environ, dict):
        return str(environ.get("REMOTE_ADDR") or "")
    client = (named.get("scope") or {}).get("client")
    return str(client[0] or "") if client else ""


def _request(named: Mapping[str, Any]) -> Any:
    """Return a request without a body, for a rule to look at."""
    environ = named.get("environ")
    if isinstance(environ, dict):
        return WSGIRequest({**environ, "wsgi.input": BytesIO()})
    return ASGIRequest(dict(named["scope"]), BytesIO())
