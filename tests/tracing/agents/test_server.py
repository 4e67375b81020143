"""An agent's session over standard input and output, with the client of the SDK, on CarSales."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tracing.command_line import error_of, run
from tracing.agents.answers import BYTES_PER_TOKEN
from tracing.management.verbs.mcp import manage_command

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the environment of a CarSales that had its incidents."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("CARSALES_")},
        "CARSALES_DATA_DIR": str(tmp_path_factory.mktemp("site")),
        "CARSALES_RELEASE": "1.1",
        "DJANGO_SETTINGS_MODULE": "carsales.settings",
    }
    for arguments in (["migrate", "-v0"], ["load_cars"], ["simulate", "--sales=2"], ["incidents"]):
        subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=REPOSITORY,
            env=environment,
            check=True,
            capture_output=True,
        )
    return environment


def session(environment, *calls):
    """Return what a server says of itself, its tools, and what it answers to *calls*."""
    # Here, as below: its import takes as long as a hundred tests, and most runs have none of these.
    from mcp import Client, StdioServerParameters, stdio_client

    async def talk():
        server = StdioServerParameters(
            command=sys.executable,
            args=["manage.py", "tracing", "mcp"],
            env=environment,
            cwd=REPOSITORY,
        )
        async with Client(stdio_client(server)) as client:
            tools = await client.list_tools()
            answers = [await client.call_tool(name, arguments) for name, arguments in calls]
            return client.instructions, tools.tools, answers

    return asyncio.run(talk())


@pytest.mark.slow
@pytest.mark.process
def test_an_agent_finds_what_went_wrong(site):
    instructions, tools, answers = session(
        site,
        ("hazards", {"hazard": "n-plus-one"}),
        ("hazards", {"severity": "error"}),
        ("find_traces", {"search": "price list"}),
        ("why_not", {"receiver": "follow_price", "trace": "last^"}),
        ("why_not", {"receiver": "nobody_at_all"}),
        ("explain", {"what": "orders.Order", "signal": "post_save"}),
        ("statistics", {"by": "receiver", "orders": "count"}),
    )
    texts = [answer.content[0].text for answer in answers]
    n_plus_one, errors, found, why_not, _unknown, explained, _wrong = texts
    listed = json.dumps([tool.model_dump(by_alias=True, exclude_none=True) for tool in tools])

    assert len(re.findall(r"[.?!](?:\s|$)", instructions)) == 3
    assert len(listed.encode()) <= 1_500 * BYTES_PER_TOKEN
    assert max(len(text.encode()) for text in texts) <= 2_000 * BYTES_PER_TOKEN
    assert [answer.is_error for answer in answers] == [False] * 4 + [True, False, True]
    # The query for each: one call.
    (finding,) = json.loads(n_plus_one)["entries"]
    assert "offer_alike" in finding["message"]
    assert len(finding["trace_ids"]) > 1
    # The mail of a sale that was rolled back: one call.
    assert "mail_contract" in json.loads(errors)["entries"][0]["message"]
    # The receiver that did not run: two.
    assert json.loads(found)["entries"][0]["name"] == "new price list"
    assert json.loads(why_not)["verdict"] == "bypassed"
    assert json.loads(explained)["entries"][1]["name"] == "core.sales.receivers.make_sale"
    assert texts[4].startswith("No receiver is called nobody_at_all")
    assert texts[6].startswith("statistics takes no 'orders'. Did you mean order?")


def test_a_client_is_told_how_to_start_it(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys, "argv", [str(REPOSITORY / "manage.py"), "tracing", "mcp", "--config"])

    entry = json.loads(run("mcp", "--config"))["mcpServers"]["tracing"]

    assert entry["args"][-3:] == [str(REPOSITORY / "manage.py"), "tracing", "mcp"]


def test_an_interpreter_without_a_script_runs_django_itself(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys, "argv", ["-c"])

    assert manage_command() == [sys.executable, "-m", "django"]


def answer_of(program):
    """Return what an agent is told when *program* is run in the place of manage.py."""
    from tracing.agents.server import answer

    return asyncio.run(answer([sys.executable, "-c", program], "statistics", {}))


@pytest.mark.process
def test_an_answer_that_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr("tracing.agents.server.PATIENCE_SECONDS", 0.2)

    text, is_error = answer_of("import time; time.sleep(60)")

    assert (text.startswith("There was no answer within"), is_error) == (True, True)


@pytest.mark.process
@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("raise SystemExit(4)", "The command ended with 4 and wrote nothing."),
        ("raise SystemExit('CommandError: There is no trace 7.')", "There is no trace 7."),
        ("raise SystemExit('usage: x [-h]\\n [-y]\\nx: error: y: is no time.')", "y: is no time."),
    ],
)
def test_a_command_that_failed_is_an_error_in_its_words(code, text):
    assert answer_of(code) == (text, True)


def test_without_the_package_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setattr("tracing.management.verbs.mcp.find_spec", lambda _name: None)

    code, message = error_of("mcp")

    assert code == 2
    assert "pip install 'django-signal-tracing[mcp]'" in message
