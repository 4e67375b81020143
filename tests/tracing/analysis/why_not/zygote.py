"""A process that has Django imported and forks a child for each program that it is given.

Started once for all scenarios: to start an interpreter and import Django for each takes much longer
than what they do. Reads lines of JSON, writes lines of JSON.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import sys
import traceback
import warnings
from pathlib import Path

SHARED = """
django.contrib.auth.apps django.contrib.auth.hashers django.contrib.auth.password_validation
django.contrib.auth.validators django.contrib.contenttypes.apps django.contrib.sessions.apps
django.core.management django.db.backends.sqlite3.base django.db.migrations.loader django.db.models
django.test
tracing.analysis.comparison tracing.analysis.explain tracing.analysis.hazards.connected
tracing.analysis.hazards.processes tracing.analysis.hazards.segments tracing.analysis.line_profile
tracing.analysis.mine tracing.analysis.process_wiring tracing.analysis.regression
tracing.analysis.review tracing.analysis.why tracing.analysis.why_not.process tracing.api
tracing.checks tracing.exporters.application_log tracing.exporters.clickhouse.schema
tracing.exporters.formats tracing.exporters.log_file
tracing.instrumentation.assembly.assembler tracing.instrumentation.line_times
tracing.instrumentation.overhead tracing.instrumentation.patching
tracing.instrumentation.scopes.redirects tracing.management.commands
tracing.management.report_tables tracing.management.tables tracing.management.terminal
tracing.pipeline.filters tracing.presentation.explanation tracing.presentation.made_test
tracing.presentation.mermaid tracing.presentation.review tracing.presentation.rows
tracing.presentation.stable_tree tracing.presentation.task_links tracing.presentation.templating
tracing.routers tracing.search.completion tracing.setup tracing.spans.summary
tracing.spool.collector tracing.spool.progress tracing.store.availability tracing.store.backends
tracing.store.cache tracing.store.clickhouse.connection tracing.store.occurrences
tracing.store.queries tracing.store.retention tracing.store.summing
"""
"""What each child needs and can be imported before there are settings; not ``tracing.apps``, which acts."""


def child(folder, argv, answer):
    """Run ``run.py`` of *folder* in its project, or a command of it, and write down what came."""
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.argv = argv
    os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
    out, error = io.StringIO(), io.StringIO()
    code = 0
    # What a scenario does wrong is its business.
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            if argv[0] == "run.py":
                program = Path(folder, "run.py")
                exec(compile(program.read_text(), str(program), "exec"), {"__name__": "__main__"})
            else:
                from django.core.management import execute_from_command_line

                execute_from_command_line(argv)
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else 1
        except BaseException:  # noqa: BLE001 - whatever it is, it is told.
            traceback.print_exc()
            code = 70
    with contextlib.suppress(Exception):
        import tracing

        tracing.flush(10)
        from tracing import pipeline

        pipeline.default.shutdown(10)
    Path(answer).write_text(
        json.dumps({"code": code, "out": out.getvalue(), "error": error.getvalue()})
    )


def main():
    """Answer each line until there is none."""
    for module in SHARED.split():
        importlib.import_module(module)
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        answer = str(Path(asked["folder"], ".answer.json"))
        pid = os.fork()
        if not pid:
            try:
                child(asked["folder"], asked["argv"], answer)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        sys.stdout.write(Path(answer).read_text() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
