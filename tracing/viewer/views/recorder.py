"""The recorder: its state, losses, costs and store; and its switches."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.db import DatabaseError
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse
from msgspec import to_builtins

from tracing import pipeline
from tracing.conf import get_problems, get_settings, retention_in_force, store_alias
from tracing.exporters.build import spool_path
from tracing.instrumentation.failures import counts as failure_counts
from tracing.spool.folder import Folder
from tracing.spool.progress import progress
from tracing.store import recorder, traces
from tracing.store import retention as pruning
from tracing.viewer.access import NotPermittedError, Permission, username
from tracing.viewer.views.base import Page

if TYPE_CHECKING:
    from django.http import HttpRequest

PRUNE_SECONDS: Final = 10.0
"""How long pruning may take while the page waits."""
_SAMPLE: Final = 500


class Recorder(Page):
    """The state of recording, and the buttons that change it."""

    template_name = "tracing/recorder.html"
    section = "recorder"

    def get(self, _request: HttpRequest) -> HttpResponse:
        """Return the state."""
        data = self.data()
        if self.wants_json:
            return self.json(self.document(data))
        return self.page(data)

    def data(self) -> dict[str, Any]:
        """Return what the page shows."""
        chosen = get_settings()
        control = recorder.control()
        cost = traces.overhead(_SAMPLE)
        retention = retention_in_force(chosen)
        return {
            "control": control,
            "is_paused": control.paused,
            "is_enabled": chosen.enabled,
            "processes": recorder.recorders(),
            "here": pipeline.default.statistics(),
            "failures": sorted(failure_counts.items(), key=lambda item: -item[1]),
            "store": self._store(),
            "overhead": {
                "sample": cost.sample,
                "share": cost.overhead_ns / cost.duration_ns if cost.duration_ns else 0.0,
                "per_dispatch_ns": cost.overhead_ns // cost.dispatches if cost.dispatches else 0,
                "total_ns": cost.overhead_ns,
            },
            "sampling": {
                "ratio": chosen.sample_ratio,
                "by_kind": chosen.sample_by_kind,
                "by_path": chosen.sample_by_path,
                "parent_based": chosen.sample_parent_based and bool(chosen.trusted_parents),
                "keep": chosen.keep.rules,
            },
            "exporter_names": chosen.exporters,
            "collector": progress(Folder(spool_path(chosen)))
            if chosen.collector != "thread"
            else None,
            "retention": retention,
            "retention_problem": next(
                (told.message for told in get_problems() if "['PRUNE']" in told.message), ""
            ),
        }

    @staticmethod
    def _store() -> dict[str, Any]:
        place, counts = traces.place(), traces.counts()
        first_pruned: int | None = None
        with suppress(DatabaseError):
            first_pruned = pruning.first_pruned_ns(store_alias())
        return {
            "alias": place.name,
            "engine": place.engine,
            "size": place.size,
            "file_size": place.file_size,
            "kept_days": place.kept_days,
            "traces": counts.traces,
            "pinned": counts.pinned,
            "first_pruned_ns": first_pruned,
            "oldest_ns": counts.oldest_ns,
        }

    @staticmethod
    def document(data: dict[str, Any]) -> dict[str, Any]:
        """Return the state as JSON."""
        retention = data["retention"]
        return {
            "paused": data["is_paused"],
            "enabled": data["is_enabled"],
            "processes": [
                process._asdict() | {"fresh": process.is_fresh} for process in data["processes"]
            ],
            "this_process": to_builtins(data["here"]),
            "failures": dict(data["failures"]),
            "store": data["store"],
            "overhead": data["overhead"],
            "sampling": data["sampling"],
            "exporters": data["exporter_names"],
            "collector": data["collector"],
            "retention": {
                name: str(value) if hasattr(value, "total_seconds") else value
                for name, value in vars(retention).items()
            }
            if retention is not None
            else None,
        }


class Switch(Page):
    """Pausing and resuming every recording process."""

    changing: ClassVar[Permission] = Permission.PAUSE
    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        """Pause or resume, as ``paused`` says; the processes obey within seconds."""
        paused = request.POST.get("paused") == "yes"
        recorder.set_paused(paused=paused, by=username(request))
        if self.wants_json:
            return self.json({"paused": paused})
        return HttpResponseRedirect(reverse("tracing:recorder"))


class Prune(Page):
    """Pruning now, as the settings say; asked for first."""

    template_name = "tracing/prune.html"
    section = "recorder"
    changing: ClassVar[Permission] = Permission.PRUNE
    seconds: ClassVar[float | None] = 3 * PRUNE_SECONDS
    """Pruning minds its own time and tells what it did in it."""

    def get(self, _request: HttpRequest) -> HttpResponse:
        """Return what would be pruned, for confirmation."""
        if not self.may(Permission.PRUNE):
            raise NotPermittedError(Permission.PRUNE)
        retention = retention_in_force(get_settings())
        would = pruning.prune(retention, dry_run=True, seconds=2) if retention else None
        if self.wants_json:
            return self.json({"would": asdict(would) if would else None})
        return self.page({"retention": retention, "would": would})

    def post(self, _request: HttpRequest) -> HttpResponse:
        """Prune for up to ``PRUNE_SECONDS`` and say what went."""
        retention = retention_in_force(get_settings())
        pruned = pruning.prune(retention, seconds=PRUNE_SECONDS) if retention else None
        if self.wants_json:
            return self.json({"pruned": asdict(pruned) if pruned else None})
        return self.page({"retention": retention, "pruned": pruned})
