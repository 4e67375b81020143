"""The load generator of the benchmarks, and what is told of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from benchmarks import report, traffic
from benchmarks.load import Load, UnreadableError, answered, arrivals

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@asynccontextmanager
async def served(answers):
    """Serve *answers* on the loopback, one for each request, the last one again and again."""
    waiting = iter(answers)
    talks = []

    async def talk(reader, writer):
        talks.append(asyncio.current_task())
        last = ANSWER
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            last = next(waiting, last)
            writer.write(last)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*talks, return_exceptions=True)
        await server.wait_closed()


def loaded(*answers, clients=2, rate=None):
    """Return what a short load finds."""

    async def run():
        async with served(answers) as port:
            return await Load("/", 0.05, rate).run(port, clients)

    return asyncio.run(run())


def test_an_answer_is_read_with_its_body():
    assert answered(ANSWER + b"HTTP/1.1 200") == (200, len(ANSWER))


@pytest.mark.parametrize("size", [0, 10, 30, len(ANSWER) - 1])
def test_part_of_an_answer_is_waited_for(size):
    assert answered(ANSWER[:size]) is None


@pytest.mark.parametrize(
    "data", [b"SSH-2.0 200\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
)
def test_an_answer_whose_end_is_unknown_is_refused(data):
    with pytest.raises(UnreadableError):
        answered(data)


def test_arrivals_are_the_same_in_each_run_and_as_many_as_asked_for():
    moments = arrivals(500, 4.0)

    assert moments == arrivals(500, 4.0)
    assert moments == sorted(moments)
    assert moments[-1] < 4.0
    assert len(moments) == pytest.approx(2_000, rel=0.1)


def test_saturated_clients_ask_until_the_time_is_over_and_wait_for_the_last_answer():
    found = loaded()

    assert found.answered == len(found.latencies) >= found.in_time > 0
    assert found.failed == 0


def test_paced_requests_are_those_that_arrive():
    assert loaded(rate=1_000).answered == len(arrivals(1_000, 0.05))


def test_answers_of_another_status_are_counted_as_failed():
    error = ANSWER.replace(b"200 OK", b"500 No")

    assert loaded(error, ANSWER, clients=1).failed == 1


def test_a_server_that_does_not_speak_http_fails_the_run():
    with pytest.raises(RuntimeError, match="no answer"):
        loaded(b"SSH-2.0\r\n\r\n")


def test_a_percentile_is_one_of_the_values():
    values = [float(number) for number in range(100, 0, -1)]

    assert traffic.percentile(values, 0.5) == 51.0
    assert traffic.percentile(values, 0.99) == 100.0
    assert traffic.percentile([], 0.99) == 0.0


def test_a_mode_is_compared_with_stock_in_the_same_round():
    stock, traced = traffic.Seen(), traffic.Seen()
    for seen, rates in ((stock, (100, 200, 400)), (traced, (50, 150, 320))):
        for rate in rates:
            seen.note_saturated(
                {"in_time": rate, "seconds": 1.0, "cpu": 1.0, "answered": 500, "latencies": [2.0]}
            )

    summary = traced.summary(stock)

    assert summary["throughput"] == 150
    assert summary["throughput_ratio"] == 0.75
    assert (summary["cpu_ms"], summary["cpu_ratio"]) == (2.0, 1.0)


def test_rows_of_traffic_name_the_goals_that_are_missed():
    stock = {
        "throughput": 500.0,
        "cpu_ms": 2.0,
        "saturated_p99": 40.0,
        "p50": 2.0,
        "p99": 10.0,
    }
    traced = stock | {"throughput_ratio": 0.6, "cpu_ratio": 1.5, "saturated_p99": 60.0, "lost": 0}
    dash = report.verdict(None, None)
    result = {
        "python": "3.11",
        "django": "5.2",
        "traffic": {"uvicorn": {"stock": stock, "complete": traced}},
    }

    assert list(report.uvicorn_rows(result)) == [
        ["stock", "500/s", "2.00 ms", "40.0 ms", "2.0 ms", "10.0 ms", dash],
        [
            "database and log file",
            "**0.60, not ≥ 0.80**",
            "1.50",
            "**1.50, not ≤ 1.30**",
            "1.00",
            "1.00",
            "0 (≤ 0)",
        ],
    ]
    assert report.goals_judged({"environments": [result]}) == 3
    assert len(report.missed({"environments": [result]})) == 2
