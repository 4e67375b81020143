"""The wiring of kinds of processes compared: what is missing where.

Pure: over what processes have told of their connections. What each told last counts; what is rightly
different is left out with the reason.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tracing.analysis.process_kinds import COMMAND, SCRIPT, SHELL, TESTS, UNCOMPARED, WEB, WORKER
from tracing.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tracing.spans.labels import ReceiverLabel
    from tracing.spans.processes import Connected, WiringVersion

Key: TypeAlias = tuple[str, str, str]
"""Signal, sender and receiver, by their names."""

TOLD_NS: Final = 300 * SECOND_NS
"""How often a process tells that it still has the same connections."""
GONE_NS: Final = 3 * TOLD_NS
"""A process that was not heard of for so long has ended."""
YOUNG_NS: Final = TOLD_NS
"""A process that lives for a shorter time may yet import what connects receivers."""
OLD_NS: Final = 7 * 24 * 3_600 * SECOND_NS
"""A kind that was not heard of for so long is not compared."""

_NO_EVIDENCE: Final = frozenset({TESTS, SHELL})
"""Kinds in which people and tests connect receivers of their own."""
_LONG_LIVED: Final = (WEB, WORKER, SHELL)
_ORDER: Final = (WEB, WORKER, COMMAND, SCRIPT, SHELL, TESTS)
_SEND_NOTHING: Final = frozenset(
    f"{COMMAND} {name}"
    for name in (
        "celery beat", "celery control", "celery events", "celery flower", "celery inspect",
        "celery purge", "check", "collectstatic", "compilemessages", "dbshell", "diffsettings",
        "dumpdata", "inspectdb", "makemessages", "makemigrations", "migrate", "optimizemigration",
        "rq info", "sendtestemail", "showmigrations", "sqlflush", "sqlmigrate", "sqlsequencereset",
        "squashmigrations", "startapp", "startproject", "tracing",
    )
)  # fmt: skip
"""Commands that send no signal of the project: what they have connected does not matter."""
_SENT_IN: Final = (
    ("django.core.signals.request_", (WEB, TESTS)),
    ("django.core.signals.got_request_exception", (WEB, TESTS)),
    ("django.core.signals.setting_changed", (TESTS,)),
    ("django.test.signals.", (TESTS,)),
    ("django.utils.autoreload.", (WEB,)),
    ("django.db.models.signals.pre_migrate", (f"{COMMAND} migrate", f"{COMMAND} flush", TESTS)),
    ("django.db.models.signals.post_migrate", (f"{COMMAND} migrate", f"{COMMAND} flush", TESTS)),
    ("celery.signals.before_task_publish", (WEB, WORKER, COMMAND, SCRIPT, SHELL, TESTS)),
    ("celery.signals.after_task_publish", (WEB, WORKER, COMMAND, SCRIPT, SHELL, TESTS)),
    ("celery.signals.", (f"{WORKER} celery", f"{COMMAND} celery")),
)
"""(beginning of the name of a signal, kinds of processes that send it); the first that fits."""
_OF_COMMANDS: Final = "/management/commands/"


@dataclass(slots=True)
class ProcessKind:
    """The processes of one kind: what they have connected, and had before."""

    name: str
    versions: list[WiringVersion]
    """The oldest first."""
    newest: WiringVersion
    connections: dict[Key, Connected] = field(default_factory=dict)
    """Of the newest processes: all that any of them has."""

    @property
    def release(self) -> str:
        """Return the release that the newest processes run."""
        return self.newest.release

    @property
    def first_seen_ns(self) -> int:
        """Return since when the kind is known."""
        return min(each.first_seen_ns for each in self.versions)

    def is_gone(self, now_ns: int) -> bool:
        """Return whether none of its processes lives, as far as is known."""
        return now_ns - self.newest.last_seen_ns > GONE_NS

    def is_young(self, now_ns: int) -> bool:
        """Return whether it runs for long and has only just begun."""
        lived_ns = self.newest.last_seen_ns - self.newest.started_ns
        is_long = self.name.partition(" ")[0] in _LONG_LIVED
        return is_long and not self.is_gone(now_ns) and lived_ns < YOUNG_NS

    def had(self, key: Key, release: str | None = None) -> bool:
        """Return whether a connection ever stood here, or did in a release."""
        return any(
            key in keys_of(each)
            for each in self.versions
            if release is None or each.release == release
        )

    def since(self, key: Key, *, is_connected: bool) -> WiringVersion:
        """Return the version from which on *key* is, or is not, connected here."""
        alike = [each for each in self.versions if (key in keys_of(each)) == is_connected]
        ended_ns = max(
            (each.last_seen_ns for each in self.versions if each not in alike), default=0
        )
        # Where processes differ among themselves it is so from the first of them on.
        later = [each for each in alike if each.first_seen_ns >= ended_ns] or alike
        return min(later, key=lambda each: each.first_seen_ns)


@dataclass(frozen=True, slots=True)
class DifferenceSide:
    """A kind of processes in which a receiver is connected, or is not."""

    kind: str
    release: str
    """From which on that is so."""
    since_ns: int
    """From when on that is known to be so, on the wall clock."""
    file: str = ""
    """Where it is connected; empty if nobody saw it, or if it is not."""
    line: int = 0
    was_connected: bool = False
    """Of one in which it is not: it was before."""
    excuse: str = ""
    """Why it need not be connected there; empty where it is missing."""


@dataclass(slots=True)
class Difference:
    """A connection that some kinds of processes have and others have not."""

    signal: str
    sender: str
    receiver: ReceiverLabel
    connected: list[DifferenceSide] = field(default_factory=list)
    missing: list[DifferenceSide] = field(default_factory=list)
    excused: list[DifferenceSide] = field(default_factory=list)

    @property
    def since(self) -> DifferenceSide:
        """Return the side that made the difference: the later one."""
        first = min(self.connected, key=lambda place: place.since_ns)
        lacking = min(self.missing or self.excused, key=lambda place: place.since_ns)
        return max(first, lacking, key=lambda place: place.since_ns)

    @property
    def is_hazard(self) -> bool:
        """Return whether a receiver of the project is missing somewhere."""
        return bool(self.missing) and self.receiver.mine


def fingerprint_of(connections: Iterable[Connected]) -> str:
    """Return 32 hex digits of what is connected, wherever and whenever."""
    lines = sorted({"\x1f".join(key_of(each)) for each in connections if each.is_alive})
    return blake2b("\x1e".join(lines).encode(errors="replace"), digest_size=16).hexdigest()


def key_of(connection: Connected) -> Key:
    """Return what tells a connection from others."""
    return connection.signal, connection.sender, connection.receiver.name


def keys_of(version: WiringVersion) -> dict[Key, Connected]:
    """Return the connections of a version by their keys."""
    return {key_of(each): each for each in version.connections if each.is_alive}


def kinds_of(versions: Iterable[WiringVersion], now_ns: int) -> list[ProcessKind]:
    """Return the kinds of processes heard of lately, web and workers first."""
    by_name: dict[str, list[WiringVersion]] = defaultdict(list)
    for version in versions:
        if version.kind not in UNCOMPARED:
            by_name[version.kind].append(version)
    found = []
    for name, told in sorted(by_name.items(), key=lambda item: (_rank(item[0]), item[0])):
        told.sort(key=lambda version: version.first_seen_ns)
        last_ns = max(version.last_seen_ns for version in told)
        if now_ns - last_ns > OLD_NS:
            continue
        # While a release is rolled out, and after one was taken back, those that began last count.
        alive = [version for version in told if last_ns - version.last_seen_ns <= GONE_NS]
        newest = max(alive, key=lambda version: (version.started_ns, version.last_seen_ns))
        kind = ProcessKind(name, told, newest)
        for version in told:
            if version.release == newest.release and version.last_seen_ns >= newest.started_ns:
                kind.connections |= keys_of(version)
        found.append(kind)
    return found


def _rank(kind: str) -> int:
    word = kind.partition(" ")[0]
    return _ORDER.index(word) if word in _ORDER else len(_ORDER)


def differences(kinds: Sequence[ProcessKind], now_ns: int) -> list[Difference]:
    """Return the connections that not all *kinds* have, hazards first."""
    kinds = [kind for kind in kinds if kind.name not in _SEND_NOTHING]
    keys = dict.fromkeys(key for kind in kinds for key in kind.connections)
    found = [each for key in keys if (each := _difference(key, kinds, now_ns)) is not None]
    found.sort(
        key=lambda each: (
            not each.is_hazard,
            not each.missing,
            each.signal,
            each.sender,
            each.receiver.name,
        )
    )
    return found


def _difference(key: Key, kinds: Sequence[ProcessKind], now_ns: int) -> Difference | None:
    holders = [kind for kind in kinds if key in kind.connections]
    if len(holders) == len(kinds):
        return None
    difference = Difference(key[0], key[1], holders[0].connections[key].receiver)
    for kind in holders:
        held, version = kind.connections[key], kind.since(key, is_connected=True)
        difference.connected.append(
            DifferenceSide(kind.name, version.release, version.first_seen_ns, held.file, held.line)
        )
    for kind in kinds:
        if key in kind.connections:
            continue
        version = kind.since(key, is_connected=False)
        place = DifferenceSide(
            kind.name,
            version.release,
            version.first_seen_ns,
            was_connected=kind.had(key),
            excuse=_excuse(key, kind, holders, now_ns),
        )
        (difference.excused if place.excuse else difference.missing).append(place)
    return difference


def _excuse(key: Key, kind: ProcessKind, holders: Sequence[ProcessKind], now_ns: int) -> str:
    """Return why *kind* need not have what *holders* have, or nothing."""
    if kind.name == TESTS:
        return "tests import what they test"
    if not _may_send(kind.name, key[0]):
        return "this signal is not sent there"
    if not (counting := [each for each in holders if _is_evidence(each, key)]):
        return "only tests, a shell or a command for itself connect it"
    counting = [each for each in counting if each.had(key, kind.release)]
    if not counting:
        running = f"release {kind.release}" if kind.release else "no release"
        return f"it ran last with {running}, which connects it nowhere"
    return next(_excuses_of_time(key, kind, counting, now_ns), "")


def _excuses_of_time(
    key: Key, kind: ProcessKind, holders: Sequence[ProcessKind], now_ns: int
) -> Iterator[str]:
    first_ns = min(each.since(key, is_connected=True).first_seen_ns for each in holders)
    if kind.is_gone(now_ns) and kind.newest.started_ns < first_ns:
        yield "not yet: it has not run since this was connected"
    if kind.had(key) and all(
        each.is_gone(now_ns) and each.newest.last_seen_ns <= kind.newest.started_ns
        for each in holders
    ):
        yield "it was taken out; the others have not run since"
    if kind.is_young(now_ns) and all(each.connections[key].is_late for each in holders):
        yield "not yet: it has just begun, and an import connects this later"


def _is_evidence(holder: ProcessKind, key: Key) -> bool:
    """Return whether what *holder* has connected is to be expected of others."""
    if holder.name in _NO_EVIDENCE:
        return False
    place = holder.connections[key].file.replace("\\", "/")
    return not (holder.name.startswith(COMMAND) and _OF_COMMANDS in place)


def _may_send(kind: str, signal: str) -> bool:
    for beginning, kinds in _SENT_IN:
        if signal.startswith(beginning):
            return any(kind == each or kind.startswith(f"{each} ") for each in kinds)
    return True


def as_dict(kinds: Sequence[ProcessKind], found: Iterable[Difference]) -> dict[str, Any]:
    """Return kinds and differences as JSON; its keys are the interface."""
    return {
        "kinds": [
            {
                "kind": kind.name,
                "release": kind.release or None,
                "fingerprint": kind.newest.fingerprint,
                "connections": len(kind.connections),
                "first_seen_ns": kind.first_seen_ns,
                "last_seen_ns": kind.newest.last_seen_ns,
            }
            for kind in kinds
        ],
        "differences": [_difference_dict(each) for each in found],
    }


def _difference_dict(difference: Difference) -> dict[str, Any]:
    return {
        "signal": difference.signal,
        "sender": None if difference.sender == "None" else difference.sender,
        "receiver": difference.receiver.name,
        "file": difference.receiver.file,
        "line": difference.receiver.line,
        "app": difference.receiver.app,
        "mine": difference.receiver.mine,
        "hazard": difference.is_hazard,
        "since_release": difference.since.release or None,
        "since_ns": difference.since.since_ns,
        "connected": [
            {
                "kind": place.kind,
                "since_release": place.release or None,
                "since_ns": place.since_ns,
                "file": place.file,
                "line": place.line,
            }
            for place in difference.connected
        ],
        "missing": [_lacking_dict(place) for place in difference.missing],
        "not_judged": [
            {**_lacking_dict(place), "why": place.excuse} for place in difference.excused
        ],
    }


def _lacking_dict(place: DifferenceSide) -> dict[str, Any]:
    return {
        "kind": place.kind,
        "since_release": place.release or None,
        "since_ns": place.since_ns,
        "was_connected": place.was_connected,
    }
