"""Details: named arguments of a dispatch, as numbers and short strings.

A reader is chosen once per receiver set and called once per dispatch. It keeps primary keys, flags and
names; it never evaluates a value, and what is not exactly of a plain type is not kept.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
import weakref
from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Model
from django.db.models import signals as model_signals

from tracing.instrumentation.attributes.names import dotted, exact, popping, qualname_of
from tracing.instrumentation.attributes.redaction import MAX_KEY, TypeName, cut_key
from tracing.instrumentation.failures import is_own

if TYPE_CHECKING:
    from django.dispatch import Signal

Details = Callable[[Any, Mapping[str, Any]], tuple[Any, ...]]
"""Reads sender and named arguments into a tuple whose first item says which shape it has.

A reader is kept as long as its receiver set, so it holds no sender: it is given the one that sends.
"""

SAVE: Final = "save"
"""(SAVE, model label, pk, flags, using, update_fields)."""
M2M: Final = "m2m"
"""(M2M, model label, pk, action, flags, pk count, using)."""
NAMED: Final = "named"
"""(NAMED, model label, pk, names); the names with ``instance`` among them.

In each of the three, what stands for the pk of an instance without one is a tuple of its identity,
negative where the key could not be read; a tuple of more is a composite key. A key is held as it is
until the worker reads it, and digests it there.
"""

CREATED, HAS_CREATED, RAW, HAS_RAW, REVERSE, HAS_REVERSE = 1, 2, 4, 8, 16, 32
_NOT_CREATED: Final = HAS_RAW | HAS_CREATED
_CREATED: Final = HAS_RAW | HAS_CREATED | CREATED

PLAIN_TYPES: Final = frozenset(
    {
        int,
        str,
        bool,
        float,
        type(None),
        uuid.UUID,
        decimal.Decimal,
        dt.date,
        dt.datetime,
    }
)
"""Types whose very instances are values: keeping or printing one runs nobody's code."""

_UUID_NUMBER: Final = uuid.UUID.__dict__["int"]
"""The slot of a UUID, to be read without asking a subclass."""


def plain(value: object) -> Any:
    """Return *value* as a plain value, long text cut; else its type's name.

    Members of an enum and marked-safe strings are the numbers and strings that they are made of.
    """
    kind = type(value)
    if kind in PLAIN_TYPES:
        return cut_key(value) if kind is str else value  # type: ignore[arg-type]
    if issubclass(kind, int):
        return int.__int__(value)  # type: ignore[arg-type]
    if issubclass(kind, str):
        return cut_key(str.__str__(value))
    if kind is bytes:
        return value[:MAX_KEY]  # type: ignore[index]
    if issubclass(kind, uuid.UUID):
        try:
            return uuid.UUID(int=_UUID_NUMBER.__get__(value))
        except AttributeError as error:  # One made in C has its own place for it.
            if not is_own(error):
                raise
    return TypeName(f"<{exact(qualname_of(kind))}>")


_Attnames = str | tuple[str, ...] | None


def _pk_attname(model: type[Model]) -> _Attnames:
    """Return the attribute that holds the primary key in ``__dict__``.

    Several of a composite key. None if the model intercepts attribute access: then reading it would
    run its code.
    """
    if model.__getattribute__ is not object.__getattribute__:
        return None
    pk: Any = model._meta.pk  # None for an abstract model
    if pk is None:
        return None
    parts = getattr(model._meta, "pk_fields", ())
    if len(parts) > 1:
        return tuple(part.attname for part in parts)
    return pk.attname  # type: ignore[no-any-return]


def _composite_key(held: dict[str, Any], attnames: tuple[str, ...]) -> tuple[Any, ...] | None:
    """Return the parts of a composite key; None while one is missing."""
    parts = [held.get(attname) for attname in attnames]
    if any(part is None for part in parts):
        return None
    return tuple([part if type(part) is int else plain(part) for part in parts])


_Kind = tuple["weakref.ref[type]", str, _Attnames, bool]
_kinds: dict[int, _Kind] = {}
"""(reference, label, attribute of the primary key, is a model) by the identity of a class."""


def _kind_of(kind: type) -> _Kind:
    """Return what names an instance of *kind*, kept while *kind* lives."""
    key = id(kind)
    is_model = issubclass(kind, Model)
    label = kind._meta.label if is_model else dotted(kind)  # type: ignore[attr-defined]
    attname = _pk_attname(kind) if is_model else None
    entry = (weakref.ref(kind, popping(_kinds, key)), label, attname, is_model)
    _kinds[key] = entry
    return entry


def instance_key(instance: object) -> tuple[str, Any]:
    """Return (model label, primary key); of no model, (class path, None)."""
    kind = type(instance)
    entry = _kinds.get(id(kind))
    if entry is None or entry[0]() is not kind:
        entry = _kind_of(kind)
    attname = entry[2]
    if attname is None:
        return entry[1], None
    if isinstance(attname, tuple):
        return entry[1], _composite_key(instance.__dict__, attname)
    pk = instance.__dict__.get(attname)
    return entry[1], pk if pk is None or type(pk) is int else plain(pk)


def _key_or_identity(instance: object) -> tuple[str, Any]:
    """Return the same, with the identity in place of a missing key.

    While a dispatch is running its instance lives, so below it the identity is nobody else's.
    """
    if instance is None:
        return "", None
    label, pk = instance_key(instance)
    if pk is not None:
        return label, pk
    return label, (id(instance) if _kinds[id(type(instance))][2] is not None else -id(instance),)


def _save_reader(model: type[Model], signal: Signal) -> Details:
    """Return a reader for saves of *model*, as Django sends them.

    Subscripts rather than ``get``: this runs for each save of the application.
    """
    label = model._meta.label
    attname = _pk_attname(model)
    if type(attname) is not str:
        return _read_save
    is_post = signal is model_signals.post_save

    def read(sender: Any, named: Mapping[str, Any]) -> tuple[Any, ...]:
        try:
            instance = named["instance"]
            if type(instance) is not sender:
                return _read_save(sender, named)
            pk = instance.__dict__[attname]
            if type(pk) is not int:
                pk = (id(instance),) if pk is None else plain(pk)
            if named["raw"] is not False:
                return _read_save(sender, named)
            if is_post:
                created = named["created"]
                if created is False:
                    flags = _NOT_CREATED
                elif created is True:
                    flags = _CREATED
                else:
                    return _read_save(sender, named)
            else:
                flags = HAS_RAW
            using = named["using"]
            if type(using) is not str:
                using = ""
            update_fields = named["update_fields"]
        except KeyError as error:
            if not is_own(error):
                raise
            return _read_save(sender, named)
        return (
            SAVE,
            label,
            pk,
            flags,
            using,
            None if update_fields is None else _strings(update_fields),
        )

    return read


def _read_save(_sender: Any, named: Mapping[str, Any]) -> tuple[Any, ...]:
    """Read a save or delete of which nothing is known beforehand."""
    instance = named.get("instance")
    label, pk = _key_or_identity(instance)
    return (SAVE, label, pk, *_flags(named))


def _flags(named: Mapping[str, Any]) -> tuple[int, str, tuple[str, ...] | None]:
    flags = _flag(named, "created", HAS_CREATED, CREATED) | _flag(named, "raw", HAS_RAW, RAW)
    using = named.get("using")
    return flags, using if type(using) is str else "", _strings(named.get("update_fields"))


def _flag(named: Mapping[str, Any], name: str, told: int, true: int) -> int:
    """Return a flag that may have been sent by hand; None if not plain."""
    value = named.get(name)
    if type(value) not in _FLAGS:
        return 0
    return told | true if value else told


_FLAGS: Final = frozenset({bool, int, str})
"""Types whose truth runs nobody's code."""

MAX_FIELDS: Final = 200
"""Names that are read of ``update_fields``."""


def _strings(values: object) -> tuple[str, ...] | None:
    """Return the exact strings of a plain collection, sorted; else None."""
    if type(values) in {frozenset, set, list, tuple}:
        if len(values) > MAX_FIELDS:  # type: ignore[arg-type]
            values = list(islice(values, MAX_FIELDS))  # type: ignore[call-overload]
        return tuple(sorted(value for value in values if type(value) is str))  # type: ignore[attr-defined]
    return None


def _read_m2m(_sender: Any, named: Mapping[str, Any]) -> tuple[Any, ...]:
    instance = named.get("instance")
    label, pk = _key_or_identity(instance)
    action = named.get("action")
    pk_set = named.get("pk_set")
    flags = _flag(named, "reverse", HAS_REVERSE, REVERSE)
    using = named.get("using")
    return (
        M2M,
        label,
        pk,
        action if type(action) is str else "",
        flags,
        len(pk_set) if type(pk_set) in {set, frozenset, list, tuple} else None,  # type: ignore[arg-type]
        using if type(using) is str else "",
    )


_MOST_SHAPES: Final = 64
"""Sets of names that are remembered per signal and sender."""


def _named_reader() -> Details:
    """Return a reader for a signal that is not about models.

    Which argument carries the instance is looked for once for each set of names; what its class is
    called, once for as long as the same class comes.
    """
    known: dict[tuple[str, ...], tuple[tuple[str, ...], str, _Kind | None]] = {}

    def read(sender: Any, named: Mapping[str, Any]) -> tuple[Any, ...]:
        shape = known.get(tuple(named))
        if shape is None:
            if len(known) >= _MOST_SHAPES:
                known.clear()
            words = tuple(named)
            shape = (tuple(map(exact, words)), _instance_argument(named, sender), None)
            known[words] = shape
        # The tuple that is remembered, so that not each dispatch holds one of its own.
        words, name, entry = shape
        instance = named[name] if name else None
        if instance is None:
            return (NAMED, "", None, words)
        kind = type(instance)
        if entry is None or entry[0]() is not kind:
            entry = _kinds.get(id(kind))
            if entry is None or entry[0]() is not kind:
                entry = _kind_of(kind)
            known[words] = (words, name, entry)
        if not entry[3] and name != "instance":
            return (NAMED, "", None, words)
        attname = entry[2]
        if attname is None:
            return (NAMED, entry[1], (-id(instance),), words)
        pk: Any = instance.__dict__.get(attname)  # None of the several of a composite key, too.
        if type(pk) is not int:
            if type(attname) is tuple:
                pk = _composite_key(instance.__dict__, attname)
                return (NAMED, entry[1], (id(instance),) if pk is None else pk, words)
            pk = (id(instance),) if pk is None else plain(pk)
        return (NAMED, entry[1], pk, words)

    return read


def _instance_argument(named: Mapping[str, Any], sender: object) -> str:
    """Return the name of the argument that a dispatch is about, or "".

    It is ``instance``, else the only model instance, else the only one that is of the sender's class.
    """
    if "instance" in named:
        return "instance"
    found = [name for name, value in named.items() if issubclass(type(value), Model)]
    if len(found) > 1:
        found = [name for name in found if type(named[name]) is sender]
    return found[0] if len(found) == 1 else ""


_SAVES: Final = (
    model_signals.pre_save,
    model_signals.post_save,
    model_signals.pre_delete,
    model_signals.post_delete,
    model_signals.pre_init,
    model_signals.post_init,
)


def details_reader(signal: Signal, sender: object) -> Details:
    """Return the reader for dispatches of *signal* from *sender*."""
    if signal is model_signals.m2m_changed:
        return _read_m2m
    if any(signal is save for save in _SAVES):
        if issubclass(type(sender), type) and issubclass(sender, Model):  # type: ignore[arg-type]
            return _save_reader(sender, signal)  # type: ignore[arg-type]
        return _read_save
    return _named_reader()
