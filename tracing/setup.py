"""Setup: from the settings to patches, a pipeline and its exporters."""

from __future__ import annotations

import re
from functools import partial
from inspect import iscoroutinefunction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from django.utils.module_loading import import_string

from tracing import celery, log, pipeline
from tracing.clocks import time
from tracing.conf import Settings, get_settings
from tracing.exporters import build
from tracing.instrumentation import context, effects, in_tests, patching, sampling
from tracing.instrumentation.attributes import mine, names, redaction
from tracing.instrumentation.attributes.values import Redaction
from tracing.instrumentation.connections import journal, registry
from tracing.instrumentation.database import pending
from tracing.instrumentation.dispatch.options import Options
from tracing.instrumentation.failures import failed
from tracing.instrumentation.process import identity
from tracing.instrumentation.scopes import handling, requests, tasks
from tracing.instrumentation.scopes.trust import Trust, trust_networks
from tracing.pipeline.filters import Exclusions, TailSampler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tracing.pipeline import Exporter

T = TypeVar("T")


def capture_options() -> dict[str, Any]:
    """Return the arguments of ``patching.instrument`` from the settings."""
    chosen = get_settings()
    # Without the project's own keys, no values at all: better none than a secret.
    keeps_values = chosen.capture_values and _policy(chosen).sensitive is not None
    return {
        "options": Options(
            callsite=chosen.capture_callsite,
            details=chosen.capture_details,
            values=Redaction() if keeps_values else None,
            cpu=chosen.capture_cpu,
            spans=makes_spans_current(chosen),
        ),
        "sql": chosen.capture_sql,
        # Always: the diagnosis compares them, whether or not they are kept afterwards.
        "statements": True,
        "side_effects": chosen.capture_effects,
    }


def makes_spans_current(chosen: Settings) -> bool:
    """Return whether OpenTelemetry is told of the receivers that run.

    Only where their spans are exported, each of them: those of others would have no parent.
    """
    return (
        "otlp" in chosen.exporters
        and chosen.otlp.current_spans
        and not chosen.keep.rules
        and not Exclusions(chosen)
    )


def log_path() -> Path:
    """Return the path of the log, by default in the project's folder."""
    return Path(get_settings().log.path or build.default_log_path())


def _control(paused: bool) -> None:  # noqa: FBT001 - called by the exporter with the state.
    """Pause or resume as the store says; called by the worker."""
    sampling.switch.paused = paused


def configure() -> None:
    """Put sampling, exporters and processors into force. Never raises."""
    chosen = get_settings()
    sampling.switch.sampler = sampling.Sampler(
        chosen.sample_ratio,
        by_kind=chosen.sample_by_kind,
        by_path=chosen.sample_by_path,
        parent_based=chosen.sample_parent_based,
    )
    requests.exclude_paths(chosen.exclude_paths)
    requests.trust_parents(_part("TRUSTED_PARENTS", build_trust, chosen) or Trust())
    redaction.set_policy(_policy(chosen))
    if mine.choose(chosen.mine):
        names.forget_labels()
    identity.release = chosen.release
    processors = build_processors(chosen)
    # On the traced thread nothing is imported in the middle of a trace, so all of it beforehand.
    exporters = (
        final_exporters(chosen, _control)
        if chosen.pipeline.synchronous
        else partial(_make_exporters, chosen, processors)
    )
    pipeline.configure(exporters, options=chosen.pipeline, processors=processors)


def build_processors(chosen: Settings) -> list[pipeline.Processor]:
    """Return what is run on each trace before it is exported."""
    processors: list[pipeline.Processor] = []
    exclusions = Exclusions(chosen)
    if exclusions:
        processors.append(exclusions)
    processors.append(_diagnose)
    if chosen.keep.rules:
        processors.append(TailSampler(chosen.keep))
    if not chosen.capture_statements:
        processors.append(_without_statements)
    return processors


def _make_exporters(chosen: Settings, processors: list[pipeline.Processor]) -> list[Exporter]:
    """Return the exporters, after importing what the worker needs."""
    if in_tests.is_test_run() and not build.writes_tests(chosen):
        silent = {"database"} if chosen.log.logger else {"database", "log"}
        if silent.issuperset(chosen.exporters):
            return []  # What tests record is let go unread.
    from tracing.instrumentation import overhead  # noqa: F401
    from tracing.instrumentation.assembly import assembler  # noqa: F401

    if chosen.collector != "thread" and not in_tests.is_test_run():
        spool = _part("SPOOL", build.build_spool, chosen, _control)
        if spool is not None:
            # They are the collector's work, with all that comes after them.
            kept = [each for each in pipeline.default.processors if each not in processors]
            pipeline.default.processors = kept
            return [spool]
    return final_exporters(chosen, _control)


def final_exporters(chosen: Settings, on_control: Callable[[bool], None]) -> list[Exporter]:
    """Return the exporters that the settings name; log what is wrong."""
    from tracing.analysis.hazards import segments  # noqa: F401
    from tracing.instrumentation import overhead  # noqa: F401
    from tracing.instrumentation.assembly import assembler  # noqa: F401

    made = [
        _part(f"EXPORTERS {name}", _exporter, name, chosen, on_control)
        for name in build.in_order(chosen.exporters)
    ]
    return [exporter for exporter in made if exporter is not None]


def _part(key: str, make: Callable[..., T], *args: Any) -> T | None:
    """Return what *make* makes; None, which is logged, if it fails.

    One wrong value must not stop the rest.
    """
    try:
        return make(*args)
    except Exception as error:
        failed(f"TRACING {key}", error)
        return None


def build_trust(chosen: Settings) -> Trust:
    """Return the rule of TRUSTED_PARENTS; raises what is wrong with it."""
    given: Any = chosen.trusted_parents
    if isinstance(given, list):
        return Trust(trust_networks(given), asks_request=False) if given else Trust()
    rule = import_string(given) if isinstance(given, str) else given
    if not callable(rule) or iscoroutinefunction(rule):
        msg = f"{given!r} is neither a list of networks nor a function (and no async one)"
        raise ValueError(msg)
    return Trust(rule)


def _exporter(name: str, chosen: Settings, on_control: Callable[[bool], None]) -> Exporter:
    return build.build_exporter(name, chosen, on_control=on_control)


def _policy(chosen: Settings) -> redaction.Policy:
    """Return the policy about secrets; unreadable keys hide all values."""
    sensitive: re.Pattern[str] | None = redaction.SENSITIVE
    if chosen.sensitive_keys:
        sensitive = _part("SENSITIVE_KEYS", _sensitive, chosen.sensitive_keys)
    return redaction.Policy(
        sensitive,
        clear_keys=chosen.clear_keys,
        messages=chosen.capture_error_messages,
    )


def _sensitive(keys: str) -> re.Pattern[str]:
    return re.compile(f"{redaction.SENSITIVE.pattern}|{keys}", re.IGNORECASE)


def _diagnose(trace: Any) -> Any:
    from tracing.analysis.hazards.segments import diagnose_segment

    diagnose_segment(trace)
    return trace


def _without_statements(trace: Any) -> Any:
    """Take out the statements that only the diagnosis needed."""
    for dispatch in trace.dispatches:
        for call in dispatch.receiver_calls:
            if call.statements:
                call.statements = ()
    if trace.diagnosis_context is not None:
        trace.diagnosis_context.callback_queries = []
    return trace


def _calibrate() -> list[Any]:
    """Measure once, in the worker, what recording costs."""
    if pipeline.default.is_its_worker() and pipeline.default.exporters:
        from tracing.instrumentation import overhead

        overhead.calibrate()
    return []


def _segments() -> Iterable[Any]:
    """Return segments of long traces; import nothing while none is due."""
    if not context.running:
        return []
    from tracing.instrumentation.assembly.unread import due

    if not due():
        return []
    from tracing.instrumentation.assembly import assembler

    return assembler.drain()


_removers: list[Callable[[], None]] = []
_flushes_at_every_end = False


def _flush_at_every_end() -> None:
    """Have the queue flushed at exit and at SIGTERM, once.

    From the start on, not from the first trace on: that may be made by another thread, where no
    handler can be installed, or by a function that runs at exit, when nothing can be registered.
    """
    global _flushes_at_every_end  # noqa: PLW0603 - like the handlers, it belongs to the process.
    if not _flushes_at_every_end:
        _flushes_at_every_end = True
        pipeline.default.flush_at_exit()
        pipeline.flush_on_sigterm(pipeline.default)


def instrument() -> Callable[[], None]:
    """Record Django's signals from now on; return what undoes it.

    Idempotent. ``tracing`` among INSTALLED_APPS calls it when the application starts.
    """
    return patching.instrument(**capture_options())


def _processor() -> context.Processor:
    """Return what live traces are handed to."""
    processor: context.Processor = log.BoundContext(pending.PendingTraces(pipeline.default))
    if makes_spans_current(get_settings()):
        try:
            from tracing.instrumentation.dispatch.current_spans import SpanTraces
        except (ImportError, LookupError) as error:
            failed("OTLP current_spans", error)
        else:
            processor = SpanTraces(processor)
    return processor


def start() -> None:
    """Configure, connect to the pipeline, instrument. Never raises."""
    from tracing.instrumentation.scopes.commands import excluded

    try:
        in_tests.leave_unrewritten()
        in_tests.remember_own_databases()
        configure()
        excluded.clear()
        excluded.update(get_settings().exclude_commands)
        context.set_processor(_processor())
        if not _removers:
            _removers.append(pipeline.add_drain(_calibrate))
            _removers.append(pipeline.add_drain(_segments))
            _removers.append(pipeline.add_drain(pending.release_expired))
            _removers.append(pipeline.add_drain(handling.end_abandoned))
        if get_settings().enabled:
            _flush_at_every_end()
            effects.configure()
            instrument()
            registry.adopt_known_signals()
            registry.describe_anew()
            journal.journal.ready_ns = journal.journal.ready_ns or time.time_ns()
            celery.connect_when_imported()
            seconds = get_settings().pipeline.exit_seconds
            tasks.flush = partial(pipeline.default.force_flush, seconds)
    except Exception as error:
        failed("start", error)
