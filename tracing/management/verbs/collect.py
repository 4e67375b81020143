"""The verb ``collect``: be the collector of the spool."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Self

from tracing.conf import get_settings
from tracing.exporters.build import spool_path
from tracing.management.verbs.base import FOUND, WRONG, Run, Verb, fail
from tracing.setup import build_processors, final_exporters
from tracing.spool.collector import Collector
from tracing.spool.folder import CAN_LOCK, Folder, Turn

if TYPE_CHECKING:
    from argparse import ArgumentParser

PATIENCE = 2.0
"""Seconds to wait for the turn: a collector before this one may be ending."""


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--until-idle",
        action="store_true",
        help="end when no process writes any more, and quietly if another collects already",
    )


def _collect(run: Run) -> int:
    chosen, until_idle = get_settings(), run.options["until_idle"]
    if not CAN_LOCK:
        raise fail("There are no file locks on this system: leave COLLECTOR at thread.", WRONG)
    folder = Folder(spool_path(chosen))
    turn = Turn(folder)
    try:
        folder.make()
        is_ours = turn.take(PATIENCE)
    except OSError as error:
        raise fail(f"{folder.path} cannot be used: {error}", WRONG) from None
    if not is_ours:
        if until_idle:
            return 0
        raise fail(f"Another process collects {folder.path} already.", FOUND)
    if not until_idle:
        run.terminal.say(f"Collecting {folder.path}; Ctrl-C or SIGTERM ends it.")
        run.terminal.flush()
        if chosen.collector == "thread":
            run.terminal.warn('TRACING["COLLECTOR"] is "thread": no process writes there.')
    exporters = final_exporters(chosen, folder.control)
    collector = Collector(folder, exporters, build_processors(chosen))
    with _Ending() as ending:
        collector.run(until_idle=until_idle, is_ending=lambda: ending.is_asked)
    turn.give_back()
    return 0


class _Ending:
    """A signal that asks for the end; a second one is obeyed at once."""

    def __enter__(self) -> Self:
        self.is_asked = False
        signals = (signal.SIGTERM, signal.SIGINT)
        self._before = {number: signal.signal(number, self._ask) for number in signals}
        return self

    def _ask(self, number: int, _frame: Any) -> None:
        self.is_asked = True
        signal.signal(number, signal.SIG_DFL)

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


VERBS = (
    Verb(
        "collect",
        "export what other processes left in the spool",
        _arguments,
        _collect,
        'With COLLECTOR = "service", run this beside the site, once for each host: it reads the '
        "spool, diagnoses and exports until it is told to end.",
    ),
)
