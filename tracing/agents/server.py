"""The server: tools on standard input and output, run as commands."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Any, Final

from mcp import types
from mcp.server import Server
from mcp.server.stdio import stdio_server

from tracing import __version__
from tracing.agents.answers import Cursor, bounded, read
from tracing.agents.tools import TOOLS, ArgumentsError, tool_named

if TYPE_CHECKING:
    from collections.abc import Sequence

INSTRUCTIONS: Final = (
    "These tools read what the signals of this Django project did: which receivers ran, in which order, "
    "what they cost and what went wrong. Start with hazards or find_traces; ids of one answer go into the "
    "next call, and a cursor gives what did not fit. Absent keys are zero, false or unknown; times are "
    "nanoseconds."
)
PATIENCE_SECONDS: Final = 120
"""For one answer."""


def serve(command: Sequence[str]) -> None:
    """Answer an agent on standard input and output until it leaves.

    Args:
        command: What runs ``manage.py``, without arguments.
    """
    asyncio.run(_serve(_server(command)))


async def _serve(server: Server[Any]) -> None:
    async with stdio_server() as (received, sent):
        await server.run(received, sent, server.create_initialization_options())


def _server(command: Sequence[str]) -> Server[Any]:
    async def list_tools(_context: Any, _parameters: Any) -> types.ListToolsResult:
        tools = [
            types.Tool(
                name=tool.name,
                description=tool.text,
                input_schema=tool.schema(),
                annotations=types.ToolAnnotations(read_only_hint=True),
            )
            for tool in TOOLS
        ]
        return types.ListToolsResult(tools=tools)

    async def call_tool(
        _context: Any, parameters: types.CallToolRequestParams
    ) -> types.CallToolResult:
        try:
            text, is_error = await answer(command, parameters.name, parameters.arguments or {})
        except ArgumentsError as error:
            text, is_error = str(error), True
        content = types.TextContent(type="text", text=text)
        return types.CallToolResult(content=[content], is_error=is_error)

    return Server(
        "tracing",
        version=__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def answer(command: Sequence[str], name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
    """Return what the tool *name* answers, and whether that is an error.

    Raises:
        ArgumentsError: There is no such tool, or it does not take these arguments.
    """
    tool = tool_named(name)
    cursor = Cursor.of(arguments.get("cursor"))
    line = tool.command_line(arguments, start=cursor.start, until_ms=cursor.until_ms)
    process = await asyncio.create_subprocess_exec(
        *command, "tracing", *line, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            written, errors = await process.communicate()
    except TimeoutError:
        advice = "Ask for less: a shorter time, or one trace."
        return f"There was no answer within {PATIENCE_SECONDS} s. {advice}", True
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        document = read(written.decode(errors="replace"))
    except ValueError:
        return _failure(process.returncode, errors.decode(errors="replace")), True
    return bounded(document, tool, cursor), False


def _failure(code: int | None, errors: str) -> str:
    """Return what the command wrote when it failed, in short."""
    told = errors.strip().removeprefix("CommandError: ")
    if told.startswith("usage:"):
        told = told.rpartition(": error: ")[2]
    return told[-1_500:] or f"The command ended with {code} and wrote nothing."
