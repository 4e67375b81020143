"""Relations between the sender waited for and the one that sent."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps

from tracing.instrumentation.attributes import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import Model

_INSTANCE: Final = " instance"
RELATED: Final = "a model that it is linked to"
"""A weak relation: it explains a wrong sender, and holds between many models."""
THROUGH: Final = "the through model of"
_APART: Final = frozenset(
    {
        *(
            "no sender at all",
            "another string",
            "a string",
            "a class",
            "an instance of another class",
        ),
        *("another model", "another sender"),
    }
)
"""What is said of two that have nothing to do with one another."""


def relation(waited: str, sent: str) -> str:
    """Return what the sender *sent* is to *waited*; empty if unrelated.

    Both as the tracer names senders. Empty if they are not related.
    """
    if waited == sent:
        if sent.startswith("'"):
            return "another object of that string: Django compares senders by identity"
        if sent.endswith(_INSTANCE):
            return "another instance of that class"
        return "another class of that name, made anew"
    if sent.removesuffix(names.OF_MIGRATION) == waited:
        return "the historical model that a migration makes of it, another class"
    its, mine = _model(waited), _model(sent)
    if mine is not None and its is None:
        # An abstract model is in no registry.
        its = next((base for base in mine.__mro__ if _label(base) == waited), None)
    if its is not None and mine is not None:
        return _between_models(its, mine)
    return _between_others(waited, its, sent, mine)


def is_close(kind: str) -> bool:
    """Return whether one sender is easily taken for the other."""
    return bool(kind) and kind not in {RELATED, *_APART} and not kind.startswith("no string")


def model_labels() -> list[str]:
    """Return the labels of all models."""
    return [model._meta.label for model in apps.get_models(include_auto_created=True)]


def is_of_relation(label: str) -> bool:
    """Return whether Django made the model *label* for a relation."""
    model = _model(label)
    return model is not None and bool(model._meta.auto_created)


def method_of(sender: str, name: str) -> Callable[..., Any] | None:
    """Return the method *name* of the model *sender*, or None."""
    return getattr(_model(sender), name, None) if name else None


def is_model(sender: str) -> bool:
    """Return whether *sender* is the label of a model that is loaded."""
    return _model(sender) is not None


def class_called(sender: str) -> type | None:
    """Return the model or the class that has the name of a sender now."""
    return _model(sender) or _class(sender)


def is_of_rows(waited: str, sent: str) -> bool:
    """Return whether objects of the model *sent* are rows of *waited*, too."""
    its, mine = _model(waited), _model(sent)
    if its is None or mine is None:
        return False
    return its._meta.concrete_model in {mine._meta.concrete_model, *mine.__mro__}


def _label(cls: Any) -> str:
    return names.sender_name(cls) if hasattr(cls, "_meta") else ""


def _model(sender: str) -> type[Model] | None:
    application, dot, name = sender.partition(".")
    if not dot or "." in name or not apps.models_ready:
        return None
    return apps.all_models.get(application, {}).get(name.lower())


def _between_models(its: type[Model], mine: type[Model]) -> str:
    """Return what *mine*, which sent, is to *its*."""
    wanted, sent = its._meta, mine._meta
    if wanted.swapped:
        what = "the model of AUTH_USER_MODEL" if wanted.label == "auth.User" else "the model"
        return f"{what} that {wanted.label} was swapped for" if sent.label == wanted.swapped else ""
    if wanted.abstract and issubclass(mine, its):
        return f"a model made from the abstract {wanted.label}, which itself never sends"
    return (
        _of_proxies(its, mine)
        or _through(its, mine)
        or _of_history(its, mine)
        or _of_families(its, mine)
        or (RELATED if _is_linked(its, mine) or _is_linked(mine, its) else "")
    )


def _of_proxies(its: type[Model], mine: type[Model]) -> str:
    wanted, sent = its._meta, mine._meta
    if wanted.concrete_model is not sent.concrete_model:
        return ""
    if sent.proxy and wanted.proxy:
        return "another proxy of the same model"
    return f"a proxy of {wanted.label}" if sent.proxy else f"the model of the proxy {wanted.label}"


def _of_history(its: type[Model], mine: type[Model]) -> str:
    if _is_history_of(mine, its):
        return f"the historical model of {its._meta.label}"
    return f"the model whose history {its._meta.label} is" if _is_history_of(its, mine) else ""


def _is_history_of(one: type[Model], other: type[Model]) -> bool:
    named = one._meta.object_name == f"Historical{other._meta.object_name}"
    return named or getattr(one, "instance_type", None) is other


def _of_families(its: type[Model], mine: type[Model]) -> str:
    if issubclass(mine, its):
        return f"a child of {its._meta.label}"
    if issubclass(its, mine):
        return f"the parent of {its._meta.label}"
    bases = [base for base in mine.__mro__ if hasattr(base, "_meta") and base._meta.abstract]
    common = any(issubclass(its, base) for base in bases)
    return "another model of the same abstract base" if common else ""


def _through(its: type[Model], mine: type[Model]) -> str:
    for model in _family(its):
        for link in model._meta.many_to_many:
            if link.remote_field.through is mine:
                return f"{THROUGH} {model._meta.label}.{link.name}"
    for model in apps.get_models(include_auto_created=True):
        for link in model._meta.local_many_to_many:
            if link.remote_field.through is mine and link.related_model in _family(its):
                return f"{THROUGH} {model._meta.label}.{link.name}"
        throughs = {link.remote_field.through: link.name for link in model._meta.many_to_many}
        if its in throughs and mine in throughs:
            label = model._meta.label
            return f"{THROUGH} {label}.{throughs[mine]}, not of {label}.{throughs[its]}"
    return ""


def _family(model: type[Model]) -> list[type[Model]]:
    return [model, *model._meta.get_parent_list()] if model._meta.model_name else [model]


def _is_linked(one: type[Model], other: type[Model]) -> bool:
    return any(link.related_model is other for link in one._meta.fields if link.is_relation)


def _between_others(
    waited: str, its: type[Model] | None, sent: str, mine: type[Model] | None
) -> str:
    """Return what a sender is to another, one of which at least is no model."""
    if sent.startswith("'") or waited.startswith("'"):
        return _of_strings(waited, sent)
    if sent.endswith(_INSTANCE) or waited.endswith(_INSTANCE):
        return _of_instances(waited, its, sent, mine)
    if sent == "None":
        return "no sender at all"
    one, other = _class(waited), _class(sent)
    if one is None or other is None:
        return ""
    if issubclass(other, one):
        return f"a subclass of {waited}"
    return f"a base class of {waited}" if issubclass(one, other) else ""


def _of_strings(waited: str, sent: str) -> str:
    if sent.startswith("'") and waited.startswith("'"):
        return "another string"
    if sent.startswith("'"):
        is_name = _is_name_of(sent[1:-1], waited)
        return f"a string, the name of {waited}, not the class itself" if is_name else "a string"
    is_name = _is_name_of(waited[1:-1], sent)
    return f"the class, while {waited} is a string" if is_name else f"no string, as {waited} is"


def _of_instances(waited: str, its: type[Model] | None, sent: str, mine: type[Model] | None) -> str:
    kind, wanted = sent.removesuffix(_INSTANCE), waited.removesuffix(_INSTANCE)
    is_same = kind == wanted or _dotted(mine) == wanted or _dotted(its) == kind
    if not sent.endswith(_INSTANCE):
        return (
            f"the class, while {waited} is one instance"
            if is_same
            else _manager(wanted, mine) or "a class"
        )
    if waited.endswith(_INSTANCE) or not is_same:
        return _manager(kind, its) or "an instance of another class"
    return "an instance of it, not the class"


def _dotted(model: type[Model] | None) -> str:
    return names.dotted(model) if model is not None else ""


def _is_name_of(text: str, sender: str) -> bool:
    """Return whether a string is what somebody may call *sender*."""
    last = sender.removesuffix(_INSTANCE).rpartition(".")[2]
    return text.rpartition(".")[2].lower() == last.lower()


def _manager(kind: str, model: type[Model] | None) -> str:
    if model is None:
        return ""
    managers = model._meta.managers
    known = any(names.dotted(type(manager)) == kind for manager in managers)
    return "a manager of it, not the model" if known else ""


def _class(path: str) -> type | None:
    """Return the class that a loaded module holds under *path*."""
    module, _, name = path.rpartition(".")
    held = sys.modules.get(module)
    if type(held) is not types.ModuleType:
        return None
    # To ask whether a lazy object is a class may make it.
    value = vars(held).get(name)
    return value if names.is_class(value) else None
