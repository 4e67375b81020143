"""The rules in force, with their options, wherever they come from.

More rules come from ``TRACING["HAZARD_RULES"]`` (dotted paths) and from the entry point group
``tracing.hazards``; each names a ``Rule``, made by the ``rule`` decorator.
``TRACING["HAZARDS"]`` sets options and severities by id; False switches a rule off.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from django.utils.module_loading import import_string

from tracing.analysis.hazards.known import Mark, known_reason, parse_all
from tracing.analysis.hazards.rule import SEVERITIES, Options, Rule
from tracing.analysis.hazards.rules import (
    budget,
    cost,
    effects,
    failure,
    processes,
    recursion,
    repetition,
)
from tracing.conf import get_settings
from tracing.conf.parts import HAZARD_RULES
from tracing.instrumentation.failures import failed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tracing.spans.records import Hazard


BUILT_IN: Final[tuple[Rule, ...]] = (
    repetition.duplicate_receiver,
    recursion.recursion,
    recursion.repeated_save,
    repetition.repeated_receiver,
    repetition.n_plus_one,
    cost.slow_receiver,
    failure.swallowed_error,
    failure.skipped_receivers,
    effects.side_effect_in_transaction,
    effects.rolled_back_side_effect,
    failure.bypassed_receivers,
    failure.lost_receiver,
    cost.raw_query,
    cost.unfiltered_receiver,
    cost.init_receiver_cost,
    cost.sync_send_in_loop,
    cost.async_hop,
    cost.never_awaited,
    budget.budget_exceeded,
)
"""The rules that look at traces."""
OF_PROCESSES: Final[tuple[Rule, ...]] = (processes.wired_differently,)
"""The built-in rules that look at what processes have connected."""


@dataclass(frozen=True, slots=True)
class Active:
    """A rule as it is configured here."""

    rule: Rule
    severity: str
    options: Options

    def sign(self, hazard: Hazard) -> None:
        """Put id, severity and remedy of this rule into its findings."""
        hazard.hazard = self.rule.id
        hazard.severity = max(hazard.severity or self.severity, self.severity, key=SEVERITIES.index)
        hazard.remedy = hazard.remedy or self.rule.remedy


@dataclass(slots=True)
class RuleSet:
    """Rules, options and marks: the settings of the diagnosis, read once."""

    rules: list[Active] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    slow_ns: int = 0
    repeated: int = 0
    queries: int = 0
    models: int = 0
    problems: list[str] = field(default_factory=list)
    """What is wrong with the settings, a sentence each; wrong entries are left out."""

    def judge(self, rule_id: str, found: Iterable[Hazard]) -> Iterator[Hazard]:
        """Yield what one rule found, in its words; nothing where it is off."""
        for active in self.rules:
            if active.rule.id == rule_id:
                for hazard in found:
                    active.sign(hazard)
                    hazard.known = known_reason(hazard, self.marks)
                    yield hazard


def configure(tracing: Mapping[str, Any]) -> RuleSet:
    """Return the rules that ``TRACING`` asks for. Raises nothing."""
    result = RuleSet()
    overrides = tracing.get("HAZARDS") or {}
    result.marks, problems = parse_all(tracing.get("KNOWN_HAZARDS") or ())
    result.problems += problems
    rules = _all_rules(tracing.get("HAZARD_RULES") or (), result.problems)
    ids = [rule.id for rule in rules]
    unknown = sorted(map(str, set(overrides) - set(ids)))
    result.problems += [f"HAZARDS: there is no rule {_meant(name, ids)}" for name in unknown]
    accepted = dict.fromkeys(pattern for mark in result.marks for pattern in mark.rules())
    result.problems += [
        f"KNOWN_HAZARDS: there is no rule {_meant(pattern, ids)}"
        for pattern in accepted
        if not any(fnmatchcase(rule_id, pattern) for rule_id in ids)
    ]
    for rule in rules:
        override = overrides.get(rule.id, {})
        if override is False:
            continue
        active = _active(rule, override, result.problems)
        if rule is budget.budget_exceeded:
            given = [*active.options["budgets"], *(tracing.get("BUDGETS") or ())]
            budgets, wrong = budget.parse_budgets(given)
            result.problems += wrong
            active = Active(rule, active.severity, {**active.options, "budgets": tuple(budgets)})
        result.rules.append(active)
    result.slow_ns = int(_option(result, "slow-receiver", "threshold_ms") * 1_000_000)
    result.repeated = int(_option(result, "repeated-receiver", "calls"))
    result.queries = int(_option(result, "n-plus-one", "queries"))
    result.models = int(_option(result, "unfiltered-receiver", "models"))
    if not _option(result, "budget-exceeded", "budgets"):
        # The one rule that would look at every trace has nothing to look for.
        result.rules = [each for each in result.rules if each.rule.id != "budget-exceeded"]
    return result


def _option(rules: RuleSet, rule: str, name: str) -> Any:
    """Return an option of a rule; its default if the rule is off."""
    for active in rules.rules:
        if active.rule.id == rule:
            return active.options[name]
    return next(built_in for built_in in BUILT_IN if built_in.id == rule).options[name]


def _active(rule: Rule, override: object, problems: list[str]) -> Active:
    if not isinstance(override, dict):
        problems.append(f"HAZARDS: {rule.id!r} must be False or a dictionary")
        return Active(rule, rule.severity, rule.options)
    options = dict(rule.options)
    severity = rule.severity
    for name, value in override.items():
        if name == "severity" and value in SEVERITIES:
            severity = value
        elif name in options and _fits(options[name], value):
            options[name] = value
        elif name in options or name == "severity":
            problems.append(f"HAZARDS: {rule.id!r} cannot have {name} = {value!r}")
        else:
            allowed = ", ".join(["severity", *options])
            problems.append(f"HAZARDS: {rule.id!r} has no option {name!r} (it has {allowed})")
    return Active(rule, severity, options)


def _fits(default: object, value: object) -> bool:
    """Return whether *value* is of the default's kind: no number below 0."""
    if isinstance(default, int | float):
        return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    return isinstance(value, list | tuple)


def _meant(name: str, ids: Sequence[str]) -> str:
    """Return *name* quoted for a problem, with the rule probably meant."""
    near = get_close_matches(name, ids, n=1)
    return f"{name!r} (did you mean {near[0]!r}?)" if near else repr(name)


def _all_rules(paths: Iterable[Any], problems: list[str]) -> list[Rule]:
    """Return built-in and added rules, with the problems of wrong ones."""
    rules = {rule.id: rule for rule in (*BUILT_IN, *OF_PROCESSES)}
    for where, found in _extra(paths, problems):
        if not isinstance(found, Rule):
            problems.append(f"{where} is not a Rule; use the rule() decorator")
        elif found.severity not in SEVERITIES:
            known = ", ".join(SEVERITIES)
            problems.append(f"{where} has the severity {found.severity!r}; there are {known}")
        elif rules.setdefault(found.id, found) is not found:
            problems.append(f"{where} has the id {found.id!r}, which another rule has")
    return list(rules.values())


def _extra(paths: Iterable[Any], problems: list[str]) -> Iterator[tuple[str, object]]:
    """Yield what setting and entry points name, each with its source."""
    for path in paths:
        where = f"HAZARD_RULES: {path!r}"
        try:
            yield where, import_string(path)
        except Exception as error:  # noqa: BLE001 - an extension may fail in any way.
            problems.append(f"{where} cannot be imported: {error}")
    for entry in entry_points(group=HAZARD_RULES):
        where = f"Entry point {entry.name!r} of {HAZARD_RULES}: {entry.value!r}"
        try:
            yield where, entry.load()
        except Exception as error:  # noqa: BLE001 - the same.
            failed(f"hazard rule {entry.name}", error)
            problems.append(f"{where} cannot be imported: {error}")


_cached: tuple[object, RuleSet] | None = None


def current() -> RuleSet:
    """Return the rules of the current settings, anew if these are replaced."""
    global _cached  # noqa: PLW0603 - one value for the process, compared by identity.
    settings = get_settings()
    cached = _cached
    if cached is not None and cached[0] is settings:
        return cached[1]
    result = configure(
        {
            "HAZARDS": settings.hazards,
            "HAZARD_RULES": settings.hazard_rules,
            "KNOWN_HAZARDS": settings.known_hazards,
            "BUDGETS": settings.budgets,
        }
    )
    _cached = (settings, result)
    return result


def active_rules() -> list[Rule]:
    """Return every rule that is on, built-in ones first."""
    return [active.rule for active in current().rules]
