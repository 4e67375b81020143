"""The recorder: whether it records, what it drops and costs, how large the store is; and its switches."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.db import DatabaseError
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse

from tracing import pipeline
from tracing.conf import get_settings, store_alias
from tracing.exporters.build import build_retention
from tracing.instrumentation.failures import counts as failure_counts
from tracing.instrumentation.recent import FORGOTTEN
from tracing.store import retention as pruning
from tracing.store.models import RecorderControl, RecorderState
from tracing.store.stored import all_traces
from tracing.viewer.access import NotPermittedError, Permission, username
from tracing.viewer.views.base import Page

if TYPE_CHECKING:
    from django.http import HttpRequest

FRESH_SECONDS: Final = 60
"""A recorder that was heard of within this time is alive."""
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
        now_ns = time.time_ns()
        states = list(RecorderState.objects.order_by("-seen_ns")[:50])
        control = RecorderControl.objects.filter(pk=1).first()
        newest = list(
            all_traces()
            .select_related(None)
            .order_by("-pk")
            .values_list("overhead_ns", "duration_ns", "dispatch_count")[:_SAMPLE]
        )
        overhead = sum(row[0] for row in newest)
        duration = sum(row[1] for row in newest)
        dispatches = sum(row[2] for row in newest)
        try:
            retention, retention_problem = build_retention(chosen), ""
        except ValueError as error:
            retention, retention_problem = None, str(error)
        return {
            "control": control,
            "is_paused": control is not None and control.paused,
            "is_enabled": chosen.enabled,
            "processes": [
                {
                    "state": state,
                    "is_fresh": now_ns - state.seen_ns < FRESH_SECONDS * 1_000_000_000,
                    "exporters": _exporters(state.exporters),
                    "forgotten": _counts(state.exporters).get(FORGOTTEN, {}),
                }
                for state in states
            ],
            "here": pipeline.default.statistics(),
            "failures": sorted(failure_counts.items(), key=lambda item: -item[1]),
            "store": self._store(),
            "overhead": {
                "sample": len(newest),
                "share": overhead / duration if duration else 0.0,
                "per_dispatch_ns": overhead // dispatches if dispatches else 0,
                "total_ns": overhead,
            },
            "sampling": {
                "ratio": chosen.sample_ratio,
                "by_kind": chosen.sample_by_kind,
                "by_path": chosen.sample_by_path,
                "parent_based": chosen.sample_parent_based and bool(chosen.trusted_parents),
                "keep": chosen.keep,
            },
            "exporter_names": chosen.exporters,
            "retention": retention,
            "retention_problem": retention_problem,
        }

    @staticmethod
    def _store() -> dict[str, Any]:
        alias = store_alias()
        size: int | None = None
        file_size: int | None = None
        first_pruned: int | None = None
        # A server may refuse to tell; the rest of the page is not worse for it.
        with suppress(DatabaseError):
            size = pruning.store_size(alias)
            file_size = pruning.file_size(alias)
            first_pruned = pruning.first_pruned_ns(alias)
        started = all_traces().select_related(None).order_by("started_ns")
        return {
            "alias": alias,
            "size": size,
            "file_size": file_size,
            "traces": all_traces().select_related(None).count(),
            "pinned": all_traces().select_related(None).pinned().count(),
            "first_pruned_ns": first_pruned,
            "oldest_ns": started.values_list("started_ns", flat=True).first(),
        }

    @staticmethod
    def document(data: dict[str, Any]) -> dict[str, Any]:
        """Return the state as JSON."""
        retention = data["retention"]
        return {
            "paused": data["is_paused"],
            "enabled": data["is_enabled"],
            "processes": [
                {
                    "host": process["state"].host,
                    "process": process["state"].process,
                    "started_ns": process["state"].started_ns,
                    "seen_ns": process["state"].seen_ns,
                    "recorded": process["state"].recorded,
                    "dropped": process["state"].dropped,
                    "queued": process["state"].queued,
                    "exporters": process["exporters"],
                    "forgotten": process["forgotten"],
                    "version": process["state"].version,
                    "fresh": process["is_fresh"],
                }
                for process in data["processes"]
            ],
            "this_process": asdict(data["here"]),
            "failures": dict(data["failures"]),
            "store": data["store"],
            "overhead": data["overhead"],
            "sampling": data["sampling"],
            "exporters": data["exporter_names"],
            "retention": {
                name: str(value) if hasattr(value, "total_seconds") else value
                for name, value in asdict(retention).items()
            }
            if retention is not None
            else None,
        }


def _counts(text: str) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return {str(name): values for name, values in found.items() if isinstance(values, dict)}


def _exporters(text: str) -> dict[str, dict[str, Any]]:
    return {name: values for name, values in _counts(text).items() if name != FORGOTTEN}


class Switch(Page):
    """Pausing and resuming every recording process."""

    changing: ClassVar[Permission] = Permission.PAUSE
    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        """Pause or resume, as ``paused`` says; the processes obey within seconds."""
        paused = request.POST.get("paused") == "yes"
        RecorderControl.objects.update_or_create(
            pk=1,
            defaults={
                "paused": paused,
                "changed_ns": time.time_ns(),
                "changed_by": username(request),
            },
        )
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
        retention = build_retention(get_settings())
        would = pruning.prune(retention, dry_run=True, seconds=2) if retention else None
        if self.wants_json:
            return self.json({"would": asdict(would) if would else None})
        return self.page({"retention": retention, "would": would})

    def post(self, _request: HttpRequest) -> HttpResponse:
        """Prune for up to ``PRUNE_SECONDS`` and say what went."""
        retention = build_retention(get_settings())
        pruned = pruning.prune(retention, seconds=PRUNE_SECONDS) if retention else None
        if self.wants_json:
            return self.json({"pruned": asdict(pruned) if pruned else None})
        return self.page({"retention": retention, "pruned": pruned})
