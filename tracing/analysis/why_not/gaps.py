"""Gaps in the records: what settings, limits and losses may hide."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from tracing.analysis.why_not.places import setting_place
from tracing.conf import Settings
from tracing.units import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.spans.processes import ProcessWiring
    from tracing.spans.records import Trace


@dataclass(frozen=True, slots=True)
class Gap:
    """A reason why a call may be missing from the records."""

    text: str
    remedy: str = ""
    file: str = ""
    line: int = 0
    hides_receiver: bool = False
    """No call of this very receiver is in any record."""


_REASONS: Final = {
    "suppressed": (
        "tracing.suppress() left out {}",
        "Take away suppress() around what you ask about.",
    ),
    "sampled": ("sampling left out {}", "Set SAMPLE_RATIO to 1.0 while you look for it."),
    "excluded path": ("EXCLUDE_PATHS left out {}", "Take the path out of EXCLUDE_PATHS."),
    "excluded command": (
        "EXCLUDE_COMMANDS left out {}",
        "Take the command out of EXCLUDE_COMMANDS.",
    ),
    "keep": ("KEEP threw away {}", "Set KEEP to {} while you look for it."),
    "paused": ("recording was paused for {}", "Resume with manage.py tracing resume."),
}
"""What a process says of units of work that it did not record, and what to do."""
_NAMED: Final = ("EXCLUDE_PATHS", "EXCLUDE_COMMANDS", "SAMPLE_RATIO", "KEEP")


def _setting(name: str) -> tuple[str, int]:
    found = setting_place("TRACING", name)
    return found if found[1] else setting_place("TRACING")


def of_settings(
    settings: Settings, names: tuple[str, ...], links: list[tuple[str, str]]
) -> Iterator[Gap]:
    """Yield what the settings keep out of every record.

    Args:
        settings: Those in force.
        names: What the receiver is called.
        links: (signal, sender) for which it is connected.
    """
    for key, values in (
        ("EXCLUDE_RECEIVERS", names),
        ("EXCLUDE_SIGNALS", tuple(signal for signal, _ in links)),
        ("EXCLUDE_SENDERS", tuple(sender for _, sender in links)),
    ):
        for pattern in getattr(settings, key.lower()):
            if any(fnmatchcase(value, str(pattern)) for value in values):
                yield Gap(
                    f"{key} has {str(pattern)!r}, which leaves it out",
                    f"Take {str(pattern)!r} out of {key} in TRACING.",
                    *_setting(str(pattern)),
                    hides_receiver=True,
                )
    if not settings.enabled:
        yield Gap(
            "ENABLED is False: nothing is recorded", "Set ENABLED to True.", *_setting("ENABLED")
        )


def of_sampling(settings: Settings) -> Iterator[Gap]:
    """Yield what sampling may have left out."""
    remedy = "Set {} to 1.0 while you look for it."
    if settings.sample_ratio < 1.0:
        text = f"SAMPLE_RATIO is {settings.sample_ratio}: not every unit of work is recorded"
        yield Gap(text, remedy.format("SAMPLE_RATIO"), *_setting("SAMPLE_RATIO"))
    if any(float(ratio) < 1.0 for ratio in settings.sample_by_kind.values()):
        text = f"SAMPLE_BY_KIND is {settings.sample_by_kind}"
        yield Gap(text, remedy.format("its ratios"), *_setting("SAMPLE_BY_KIND"))
    if any(float(ratio) < 1.0 for _, ratio in settings.sample_by_path):
        text = f"SAMPLE_BY_PATH is {settings.sample_by_path}"
        yield Gap(text, remedy.format("its ratios"), *_setting("SAMPLE_BY_PATH"))
    if settings.keep.otherwise < 1.0:
        text = f"KEEP keeps {settings.keep.otherwise} of the traces without errors or hazards"
        yield Gap(text, "Set KEEP to {} while you look for it.", *_setting("KEEP"))


def of_trace(trace: Trace) -> Iterator[Gap]:
    """Yield what is missing from a trace itself."""
    if trace.dropped_count:
        yield Gap(
            f"{plural(trace.dropped_count, 'event')} of trace {trace.trace_id} had no room: "
            "a limit was reached",
            "Record a smaller unit of work, as a block with tracing.trace().",
        )
    if trace.left_out_count:
        yield Gap(
            f"{plural(trace.left_out_count, 'block')} inside trace {trace.trace_id} "
            "was not recorded: suppressed by tracing.suppress(), or not sampled",
            "Take away suppress() around what you ask about.",
        )
    if not trace.final:
        yield Gap(f"trace {trace.trace_id} is still running", "Ask again when it has ended.")
    if trace.unreadable:
        yield Gap(f"a part of trace {trace.trace_id} could not be read")


def of_exclusions(settings: Settings) -> Iterator[Gap]:
    """Yield what the project leaves out, beside the usual."""
    for key in ("exclude_paths", "exclude_commands"):
        chosen, usual = getattr(settings, key), getattr(Settings(), key)
        own = [pattern for pattern in chosen if pattern not in usual]
        if own:
            text = f"{key.upper()} has {own[0]!r}: what it fits is not recorded"
            remedy = f"Take {own[0]!r} out of {key.upper()} in TRACING."
            yield Gap(text, remedy, *_setting(own[0]))


def of_process(wiring: ProcessWiring, settings: Settings) -> Iterator[Gap]:
    """Yield what a process knows that it did not record."""
    for reason, count in wiring.left_out.items():
        if reason == "excluded path" and not any(of_exclusions(settings)):
            continue  # Static files.
        text, remedy = _REASONS.get(reason, (f"{reason}: {{}} left out", ""))
        setting = next((key for key in _NAMED if key in f"{text} {remedy}"), "")
        at = _setting(setting) if setting else ("", 0)
        yield Gap(text.replace("{}", plural(count, "unit of work", "units of work")), remedy, *at)


def of_journal(wiring: ProcessWiring) -> Iterator[Gap]:
    """Yield what a process has forgotten of its connections."""
    if wiring.forgotten_count:
        count = plural(wiring.forgotten_count, "change", "changes")
        yield Gap(f"the journal of connections had no room for {count}")
