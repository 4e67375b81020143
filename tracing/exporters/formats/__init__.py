"""Formats of other tools: Speedscope, Chrome, Perfetto, OTLP, CSV, JSONL."""

from __future__ import annotations

from tracing.exporters.formats.attributes import resource_attributes
from tracing.exporters.formats.otlp import OtlpSpan, otlp_json, otlp_spans
from tracing.exporters.formats.profiles import chrome_trace, lanes, speedscope
from tracing.exporters.formats.spreadsheet import CSV_COLUMNS, write_csv
from tracing.exporters.formats.text import TextOut, write_jsonl

__all__ = [
    "CSV_COLUMNS",
    "OtlpSpan",
    "TextOut",
    "chrome_trace",
    "lanes",
    "otlp_json",
    "otlp_spans",
    "resource_attributes",
    "speedscope",
    "write_csv",
    "write_jsonl",
]
