"""Forms of the viewer: the search as controls, and what may be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.renderers import DjangoTemplates

from tracing.search.query import KEYS, Query, Term, Text
from tracing.spans.records import Kind, Outcome
from tracing.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterable


def _choices(words: Iterable[str], empty: str) -> list[tuple[str, str]]:
    return [("", empty), *((word, word) for word in words)]


class DurationField(forms.CharField):
    """A duration as text, ``50ms``; a bare number gets ``ms``."""

    def clean(self, value: Any) -> str:
        """Return the text of the duration; empty for none."""
        text = super().clean(value)
        if text and text.replace(".", "", 1).isdecimal():
            text = f"{text}ms"
        if text:
            try:
                parse_duration(text)
            except ValueError as error:
                raise ValidationError(str(error)) from None
        return str(text)


class ViewerForm(forms.Form):
    """A form with Django's own widgets, whatever the project's renderer."""

    default_renderer = DjangoTemplates


class FilterForm(ViewerForm):
    """The search as controls; each stands for one term of the search language."""

    kind = forms.ChoiceField(choices=_choices(Kind, "any kind"), required=False)
    status = forms.ChoiceField(
        choices=_choices(KEYS["status"].choices, "any status"), required=False
    )
    signal = forms.CharField(required=False, max_length=255)
    sender = forms.CharField(required=False, max_length=255)
    receiver = forms.CharField(required=False, max_length=255)
    outcome = forms.ChoiceField(choices=_choices(Outcome, "any outcome"), required=False)
    duration = DurationField(required=False, max_length=20, label="At least")
    text = forms.CharField(required=False, max_length=200, label="Any name, path or id")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", "auto_id": "filter-%s", **kwargs})
        for name, hint in (
            ("signal", "post_save"),
            ("sender", "orders.Order"),
            ("receiver", "core.orders.*"),
            ("duration", "50ms"),
            ("text", "/orders/"),
        ):
            self.fields[name].widget.attrs |= {"placeholder": hint, "autocomplete": "off"}
        for name in ("signal", "sender", "receiver"):
            # What the search box completes, these complete too.
            self.fields[name].widget.attrs["data-completes"] = name

    def conditions(self) -> list[Query]:
        """Return the terms of the filled-in controls, without wrong ones."""
        self.is_valid()
        found: list[Query] = []
        for name, value in self.cleaned_data.items():
            if not value:
                continue
            if name == "text":
                found.append(Text(value))
            elif name == "duration":
                found.append(Term(KEYS[name], ">=", value, parse_duration(value)))
            else:
                found.append(Term(KEYS[name], ":", value))
        return found


class ReasonForm(ViewerForm):
    """The reason for which a hazard is accepted."""

    reason = forms.CharField(max_length=500)


class NoteForm(ViewerForm):
    """A note on a trace, and its pin."""

    pinned = forms.BooleanField(required=False)
    note = forms.CharField(max_length=500, required=False)


class SavedSearchForm(ViewerForm):
    """A name for a search."""

    name = forms.CharField(max_length=100)
    query = forms.CharField(max_length=2_000, required=False)
