"""A small load generator: keep-alive clients on the loopback, in a process of its own.

    python -m benchmarks.load PORT PATH CLIENTS SECONDS [RATE]

Without a rate each client asks again as soon as it is answered: the server is saturated. With one, so
many requests a second arrive at random moments, the same ones in each run, and wait for a free client:
their latency counts from the arrival, so a server that is late is not spared the requests behind.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import deque
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import cast

HOST = "127.0.0.1"
PATIENCE_SECONDS = 20.0
"""How long the last answers may take; then the run fails."""


class UnreadableError(Exception):
    """An answer that is no HTTP, or has no length."""


def answered(data: bytes) -> tuple[int, int] | None:
    """Return (status, bytes) of the answer that *data* begins with; None if more of it is to come.

    Raises:
        UnreadableError: It is no answer of HTTP/1.1 with a ``Content-Length``.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = data[:end].split(b"\r\n")
    words = first.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():  # noqa: PLR2004
        raise UnreadableError(f"no answer: {first[:80]!r}")
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            size = end + 4 + int(value)
            return (int(words[1]), size) if len(data) >= size else None
    raise UnreadableError("an answer without Content-Length")


def arrivals(rate: float, seconds: float, seed: int = 1) -> list[float]:
    """Return the moments of random arrivals, in seconds from the beginning; the same for each seed."""
    chosen = random.Random(seed)  # noqa: S311 - no secret.
    moments = []
    moment = chosen.expovariate(rate)
    while moment < seconds:
        moments.append(moment)
        moment += chosen.expovariate(rate)
    return moments


@dataclass(slots=True)
class Result:
    """What a run has found."""

    seconds: float = 0.0
    """From the first request to the end of the time; what was answered later does not count for the rate."""
    in_time: int = 0
    answered: int = 0
    failed: int = 0
    """Answers of another status than 200, among those answered."""
    latencies: list[float] = field(default_factory=list)
    """In ms, one for each answer."""


class _Client(asyncio.Protocol):
    def __init__(self, load: Load) -> None:
        self._load = load
        self._data = b""
        self._since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, since: float) -> None:
        self._since = since
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        try:
            found = answered(self._data)
        except UnreadableError as error:
            self._load.give_up(str(error))
            return
        if found is not None:
            status, size = found
            self._data = self._data[size:]
            self._load.note(self, status, perf_counter() - self._since)

    def connection_lost(self, _error: Exception | None) -> None:
        self._load.give_up("the server closed a connection")

    def close(self) -> None:
        self._transport.close()


class Load:
    """Requests of *path* by some clients for some seconds."""

    def __init__(self, path: str, seconds: float, rate: float | None) -> None:
        self.request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        self._seconds = seconds
        self._rate = rate
        self._result = Result()
        self._waiting: deque[float] = deque()
        self._idle: list[_Client] = []
        self._asking = 0

    async def run(self, port: int, clients: int) -> Result:
        """Return what came of it.

        Raises:
            RuntimeError: A connection was lost, or the answers do not come.
        """
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        self._is_ending = False
        connected = [
            (await loop.create_connection(lambda: _Client(self), HOST, port))[1]
            for _ in range(clients)
        ]
        began, clock = perf_counter(), loop.time()
        self._until = began + self._seconds
        self._idle = list(connected)
        if self._rate is None:
            for _ in connected:
                self._ask(began)
        else:
            for moment in arrivals(self._rate, self._seconds):
                loop.call_at(clock + moment, self._arrive)
        loop.call_at(clock + self._seconds, self._end)
        try:
            await asyncio.wait_for(self._over, self._seconds + PATIENCE_SECONDS)
        except TimeoutError:
            raise RuntimeError(f"{self._asking} requests are not answered") from None
        finally:
            self._is_ending = True
            self._over.cancel()
            for client in connected:
                client.close()
            # Closing takes a turn of the loop.
            await asyncio.sleep(0)
        self._result.seconds = self._seconds
        return self._result

    def _arrive(self) -> None:
        self._ask(perf_counter())

    def _ask(self, since: float) -> None:
        """Ask now if a client is free, else when one is."""
        if self._idle:
            self._asking += 1
            self._idle.pop().ask(since)
        else:
            self._waiting.append(since)

    def _end(self) -> None:
        self._is_ending = True
        if not self._asking and not self._over.done():
            self._over.set_result(None)

    def note(self, client: _Client, status: int, taken: float) -> None:
        """Take note of an answer, and go on."""
        now = perf_counter()
        result = self._result
        result.answered += 1
        result.failed += status != 200  # noqa: PLR2004
        result.in_time += now <= self._until
        result.latencies.append(taken * 1e3)
        self._asking -= 1
        self._idle.append(client)
        if self._waiting:
            self._ask(self._waiting.popleft())
        elif self._rate is None and now < self._until:
            self._ask(now)
        elif self._is_ending and not self._asking:
            self._end()

    def give_up(self, why: str) -> None:
        """Let the run fail."""
        if not self._over.done():
            self._over.set_exception(RuntimeError(why))


def main() -> None:
    """Make the load that the command line says and print the result as JSON."""
    port, path, clients, seconds, *rate = sys.argv[1:]
    load = Load(path, float(seconds), float(rate[0]) if rate else None)
    print(json.dumps(asdict(asyncio.run(load.run(int(port), int(clients))))))


if __name__ == "__main__":
    main()
