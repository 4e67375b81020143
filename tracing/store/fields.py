"""Model fields and indexes: enum codes in a byte, ids of the writer's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.db import models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.backends.ddl_references import Statement


if TYPE_CHECKING:
    # Generic for the type checker only: Python sees words, the database numbers.
    _SmallIntegerField = models.SmallIntegerField[str, str]
    _BigIntegerField = models.BigIntegerField[int, int]
else:
    _SmallIntegerField = models.SmallIntegerField
    _BigIntegerField = models.BigIntegerField


_Model = TypeVar("_Model", bound=models.Model)


def reference(to: type[_Model], **options: Any) -> models.ForeignKey[_Model, _Model]:
    """Return a reference to rows of *to*, without constraint and index.

    Rows are written and deleted in an order of their own, and an index is paid for each row.
    """
    return models.ForeignKey(
        to,
        models.DO_NOTHING,
        **{"related_name": "+", "db_constraint": False, "db_index": False, **options},
    )


class CodeField(_SmallIntegerField):
    """Keep one of a fixed list of words as its place in that list.

    Python sees the word, the database a small integer: one byte or none at all on SQLite, where
    0 and 1 take no space. Text are only ever appended, because rows refer to their place.

    Args:
        codes: The words, in the order of their numbers.
    """

    description = "One of a fixed list of words, kept as its place in the list"

    def __init__(self, *args: Any, codes: Sequence[str] = (), **kwargs: Any) -> None:
        self.codes = tuple(str(code) for code in codes)
        self._numbers = {code: number for number, code in enumerate(self.codes)}
        kwargs.setdefault("choices", [(code, code.replace("_", " ")) for code in self.codes])
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        """Return what a migration needs: the words, from which the choices follow."""
        name, path, args, kwargs = super().deconstruct()
        kwargs["codes"] = self.codes
        kwargs.pop("choices", None)
        return name, path, args, kwargs

    def number(self, word: str) -> int:
        """Return the number of *word*; KeyError if it is none of the codes."""
        return self._numbers[word]

    def from_db_value(
        self, value: int | None, _expression: object, _connection: object
    ) -> str | None:
        """Return the word that stands for the number in the row."""
        return None if value is None else self._word(value)

    def to_python(self, value: Any) -> Any:
        """Return the word, also for its number."""
        if isinstance(value, int) and not isinstance(value, bool):
            return self._word(value)
        return value

    def get_prep_value(self, value: Any) -> Any:
        """Return the number that stands for the word."""
        if isinstance(value, str) and value in self._numbers:
            return self._numbers[value]
        return super().get_prep_value(value)

    def formfield(self, *args: Any, **kwargs: Any) -> Any:
        """Return a field of words: an IntegerField's would turn them into numbers."""
        return models.Field.formfield(self, *args, **kwargs)

    def _word(self, number: int) -> str:
        # A newer release may have appended words that this one does not know.
        return self.codes[number] if 0 <= number < len(self.codes) else "unknown"


class RowIdField(_BigIntegerField):
    """A 64-bit primary key that the writer allocates in blocks.

    On SQLite its type must be exactly ``integer`` for it to be the rowid itself; Django's
    ``bigint`` would cost a second index on every row.
    """

    description = "Primary key allocated by the writer"

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """Return ``integer`` on SQLite, for the rowid; elsewhere 64 bits."""
        return "integer" if connection.vendor == "sqlite" else super().db_type(connection)

    def rel_db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """Return the type of columns that refer to it."""
        return models.BigIntegerField().db_type(connection)


class NewestFirstIndex(models.Index):
    """Index a label column so that its rows come in the order of their id.

    Every index entry of SQLite ends with the row's id already, and so do those of MariaDB's InnoDB;
    only elsewhere it has to be named.

    Args:
        fields: The label column, then ``id``.
    """

    def create_sql(
        self,
        model: type[models.Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **kwargs: Any,
    ) -> Statement:
        """Return the CREATE INDEX, without an id that the database adds."""
        if schema_editor.connection.vendor in {"sqlite", "mysql"}:
            bare = models.Index(fields=self.fields[:-1], name=self.name)
            return bare.create_sql(model, schema_editor, using, **kwargs)
        return super().create_sql(model, schema_editor, using, **kwargs)
