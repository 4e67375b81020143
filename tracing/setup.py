"""Setting up: from the settings to instrumented signals, a pipeline and its exporters."""

from __future__ import annotations

import re
from inspect import iscoroutinefunction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from django.utils.module_loading import import_string

from tracing import celery, log, pipeline
from tracing.conf import Settings, get_settings
from tracing.exporters import build
from tracing.instrumentation import context, effects, in_tests, overhead, patching, sampling
from tracing.instrumentation.assembly import assembler
from tracing.instrumentation.attributes import mine, names, redaction
from tracing.instrumentation.attributes.values import Redaction
from tracing.instrumentation.connections import registry
from tracing.instrumentation.database import pending
from tracing.instrumentation.dispatch.options import Options
from tracing.instrumentation.failures import failed
from tracing.instrumentation.process import identity
from tracing.instrumentation.scopes import handling, requests
from tracing.instrumentation.scopes.trust import Trust, trust_networks
from tracing.pipeline.filters import Exclusions, Tail

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracing.pipeline import Exporter

T = TypeVar("T")


def capture_options() -> dict[str, Any]:
    """Return the arguments of ``instrumentation.instrument`` that the settings mean."""
    chosen = get_settings()
    # Without the project's own keys, no values at all: better none than a secret.
    keeps_values = chosen.capture_values and _policy(chosen).sensitive is not None
    return {
        "options": Options(
            callsite=chosen.capture_callsite,
            details=chosen.capture_details,
            values=Redaction() if keeps_values else None,
        ),
        "sql": chosen.capture_sql,
        # Always: the diagnosis compares them, whether or not they are kept afterwards.
        "statements": True,
        "side_effects": chosen.capture_effects,
    }


def log_path() -> Path:
    """Return the path of the log file: as set, else ``logs/tracing.jsonl`` in the project's folder."""
    given = {str(key).lower(): value for key, value in get_settings().log.items()}
    return Path(given["path"]) if given.get("path") else build.default_log_path()


def _control(paused: bool) -> None:  # noqa: FBT001 - called by the exporter with the state.
    """Pause or resume as the store says; called by the worker."""
    sampling.switch.paused = paused


def configure() -> None:
    """Put the settings into force: sampling, exporters, processors. Never raises."""
    chosen = get_settings()
    sampling.switch.sampler = _part("SAMPLE_BY_PATH", _sampler, chosen) or sampling.Sampler(
        chosen.sample_ratio
    )
    requests.exclude_paths(chosen.exclude_paths)
    requests.trust_parents(_part("TRUSTED_PARENTS", build_trust, chosen) or Trust())
    redaction.set_policy(_policy(chosen))
    if mine.choose(chosen.mine):
        names.forget_labels()
    identity.release = chosen.release
    exporters: list[Exporter] = []
    for name in build.in_order(chosen.exporters):
        exporter = _part(f"EXPORTERS {name}", _exporter, name, chosen)
        if exporter is not None:
            exporters.append(exporter)
    processors: list[pipeline.Processor] = []
    exclusions = Exclusions(chosen)
    if exclusions:
        processors.append(exclusions)
    processors.append(_diagnose)
    tail = _part("KEEP", Tail, chosen.keep) if chosen.keep else None
    if tail is not None:
        processors.append(tail)
    if not chosen.capture_statements:
        processors.append(_without_statements)
    options = _part("PIPELINE", build.build_options, chosen)
    pipeline.configure(exporters, options=options or pipeline.Options(), processors=processors)


def _part(key: str, make: Callable[..., T], *args: Any) -> T | None:
    """Return what *make* makes of a part of the settings; None if it is wrong, which is logged.

    One wrong value must not stop the rest.
    """
    try:
        return make(*args)
    except Exception as error:
        failed(f"TRACING {key}", error)
        return None


def _sampler(chosen: Settings) -> sampling.Sampler:
    return sampling.Sampler(
        chosen.sample_ratio,
        by_kind={str(kind): float(ratio) for kind, ratio in chosen.sample_by_kind.items()},
        by_path=[(str(pattern), float(ratio)) for pattern, ratio in chosen.sample_by_path],
        parent_based=chosen.sample_parent_based,
    )


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


def _exporter(name: str, chosen: Settings) -> Exporter:
    return build.build_exporter(name, chosen, on_control=_control)


def _policy(chosen: Settings) -> redaction.Policy:
    """Return what the settings say about secrets; with unreadable SENSITIVE_KEYS all values are."""
    sensitive: re.Pattern[str] | None = redaction.SENSITIVE
    if chosen.sensitive_keys:
        sensitive = _part("SENSITIVE_KEYS", _sensitive, chosen.sensitive_keys)
    return redaction.Policy(
        sensitive,
        clear_keys=[str(label) for label in chosen.clear_keys],
        messages=chosen.capture_error_messages,
    )


def _sensitive(keys: str) -> re.Pattern[str]:
    return re.compile(f"{redaction.SENSITIVE.pattern}|{keys}", re.IGNORECASE)


def _diagnose(trace: Any) -> Any:
    from tracing.analysis.hazards.segments import diagnose_segment

    diagnose_segment(trace)
    return trace


def _without_statements(trace: Any) -> Any:
    """Take the statements out, which the diagnosis has seen and nobody wants to keep."""
    for dispatch in trace.dispatches:
        for call in dispatch.receiver_calls:
            if call.statements:
                call.statements = ()
    if trace.carried is not None:
        trace.carried.asked_later = []
    return trace


def _calibrate() -> list[Any]:
    """Measure once what recording costs; only in the worker, which holds nobody up."""
    if pipeline.default.is_its_worker():
        overhead.calibrate()
    return []


_removers: list[Callable[[], None]] = []
_flushes_at_every_end = False


def _flush_at_every_end() -> None:
    """Have what is queued flushed when the process exits and when SIGTERM ends it; once.

    From the start on, not from the first trace on: that may be made by another thread, where no
    handler can be installed, or by a function that runs at exit, when nothing can be registered.
    """
    global _flushes_at_every_end  # noqa: PLW0603 - like the handlers, it belongs to the process.
    if not _flushes_at_every_end:
        _flushes_at_every_end = True
        pipeline.default.flush_at_exit()
        pipeline.flush_on_sigterm(pipeline.default)


def instrument() -> Callable[[], None]:
    """Record Django's signals from now on, as the settings say; return what undoes it.

    Idempotent. ``tracing`` among INSTALLED_APPS calls it when the application starts.
    """
    return patching.instrument(**capture_options())


def start() -> None:
    """Configure, connect recording with the pipeline, and instrument. Idempotent; never raises."""
    from tracing.instrumentation.scopes.commands import excluded

    try:
        in_tests.remember_own_databases()
        configure()
        excluded.clear()
        excluded.update(get_settings().exclude_commands)
        context.set_processor(log.BoundContext(pending.Parking(pipeline.default)))
        if not _removers:
            _removers.append(pipeline.add_drain(_calibrate))
            _removers.append(pipeline.add_drain(assembler.drain))
            _removers.append(pipeline.add_drain(pending.release_expired))
            _removers.append(pipeline.add_drain(handling.end_abandoned))
        if get_settings().enabled:
            _flush_at_every_end()
            effects.configure()
            instrument()
            registry.adopt_known_signals()
            celery.connect_when_imported()
    except Exception as error:
        failed("start", error)
