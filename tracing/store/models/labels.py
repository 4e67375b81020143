"""Names, kept once, and the ids that writers give away."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Sequence(models.Model):
    """The next free id of a table whose rows the writers number."""

    name = models.CharField(max_length=30, primary_key=True)
    value = models.BigIntegerField(default=0, help_text=_("Last id given away."))

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"


class Label(models.Model):
    """A name kept once and referred to by a small id.

    ``key`` makes it unique, not the name: the database's collation may take two names for the
    same, and a name longer than its column is cut.
    """

    id = models.BigAutoField(primary_key=True)
    key = models.CharField(
        max_length=32, unique=True, editable=False, help_text=_("Hash of all the other fields.")
    )
    name = models.CharField(max_length=255, db_index=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name


class SignalLabel(Label):
    """The dotted path of a signal."""


class SenderLabel(Label):
    """The label of a sender: ``orders.Order``, a dotted path or ``None``."""


class StatementLabel(models.Model):
    """The text of a normalised SQL statement, which calls refer to."""

    id = models.BigAutoField(primary_key=True)
    key = models.CharField(max_length=32, unique=True, help_text=_("Hash of the statement."))
    statement = models.TextField()

    def __str__(self) -> str:
        return self.statement


class TraceLabel(Label):
    """The name of traces: a route, a command, a task, a test or a block."""


class ReceiverLabel(Label):
    """A receiver as it was connected."""

    file = models.CharField(max_length=500, blank=True)
    line = models.PositiveIntegerField(default=0)
    dispatch_uid = models.CharField(max_length=255, blank=True)
    weak = models.BooleanField(default=True)
    is_async = models.BooleanField(default=False)
    app = models.CharField(max_length=100, blank=True)
    any_sender = models.BooleanField(default=False)
    mine = models.BooleanField(
        default=False,
        help_text=_("The project's own, as was decided last; no part of the key."),
    )


class CallsiteLabel(Label):
    """A place in the code that sends; ``name`` is the function's."""

    file = models.CharField(max_length=500)
    line = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class SharedAttributes(models.Model):
    """Attributes that many dispatches share, as created and using."""

    id = models.BigAutoField(primary_key=True)
    key = models.CharField(max_length=32, unique=True, help_text=_("Hash of the attributes."))
    shared = models.TextField(help_text=_("JSON object without what has its default."))

    def __str__(self) -> str:
        return self.shared
