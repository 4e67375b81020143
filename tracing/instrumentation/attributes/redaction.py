"""Redaction: the rules by which keys, texts and paths lose secrets.

The one place of these rules. Whatever is recorded passes here before it becomes part of a trace:
values by the name they stand under, texts by what they look like, primary keys by their type.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.core.signals import setting_changed
from django.db.models import IntegerField, UUIDField

from tracing.instrumentation.attributes.spoken import (
    HIDDEN,
    is_message,
    redact_logins,
    redact_spoken,
)
from tracing.instrumentation.failures import is_own
from tracing.patterns import pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SENSITIVE: Final = pattern(
    r"API|AUTH|TOKEN|KEY|SECRET|PASS|PWD|SIGNATURE|COOKIE|SESSION|[CX]SRF|CARD|CREDENTIAL|BEARER"
    r"|DSN|CVV|CVC|IBAN|SSN|JWT|MNEMONIC|CONN(?:ECTION)?_?STR|SAML|CLIENT_?ASSERTION|VERIFIER|SEED_?PHRASE"
    r"|(?:RECOVERY|BACKUP)_?CODE|SESSID|KENNWORT|CONTRASE|SENHA|ПАРОЛ",
    re.IGNORECASE,
)
"""Names whose values are hidden: Django's own list for its debug pages, and more."""

_SENSITIVE_WORDS: Final = pattern(
    r"(?<![a-z])(?:pin|otp|[th]otp|mfa|2fa|tan|sid|psk|pw|pan|sig|salt|hmac|creds?)(?:code|s)?(?![a-z])"
)
"""The same for words that are part of harmless ones: ``pin``, but not ``shipping``."""

_HUMP: Final = pattern(r"(?<=[a-z0-9])(?=[A-Z])")
_MOST_NAMES: Final = 5_000
_LONGEST_NAME: Final = 200
"""Characters of a name that are looked at."""


class Policy:
    """The settings about secrets; ``set_policy`` changes those in force."""

    __slots__ = ("_names", "clear_keys", "messages", "sensitive")

    def __init__(
        self,
        sensitive: re.Pattern[str] | None = SENSITIVE,
        *,
        clear_keys: Iterable[str] = (),
        messages: bool = True,
    ) -> None:
        self.sensitive = sensitive
        """Names whose values are hidden; None if that cannot be told, and every value is."""
        self.clear_keys = frozenset(label.lower() for label in clear_keys)
        """Labels of models, in lower case, whose primary keys are shown as they are."""
        self.messages = messages
        """Whether the messages of exceptions are kept."""
        self._names: dict[str, bool] = {}

    def is_sensitive(self, name: str) -> bool:
        """Return whether a value under *name* must not be kept."""
        known = self._names.get(name)
        if known is None:
            known = self._judge(name[:_LONGEST_NAME])
            if len(self._names) < _MOST_NAMES and len(name) <= _LONGEST_NAME:
                self._names[name] = known
        return known

    def _judge(self, name: str) -> bool:
        if self.sensitive is None or self.sensitive.search(name) is not None:
            return True
        if SENSITIVE.search(name.replace("-", "_").replace(" ", "_")) is not None:
            return True
        return _SENSITIVE_WORDS.search(_HUMP.sub("_", name).lower()) is not None


policy = Policy()


def set_policy(chosen: Policy) -> None:
    """Follow *chosen* from now on."""
    policy.sensitive = chosen.sensitive
    policy.clear_keys = chosen.clear_keys
    policy.messages = chosen.messages
    policy._names = {}


def name_of(key: object) -> str | None:
    """Return the text of a key, running no code; None if it has none."""
    kind = type(key)
    if kind is str:
        return key  # type: ignore[return-value]
    if issubclass(kind, str):
        return str.__str__(key)
    if kind is bytes:
        return key.decode("latin-1")  # type: ignore[attr-defined, no-any-return]
    return None


# --- primary keys ----------------------------------------------------------------------------

DIGITS: Final = 12
"""Hexadecimal digits of a digest."""
MAX_BITS: Final = 256
"""Size of a number that is still written out: digits cost time that grows with its square."""


class TypeName(str):
    """The name of a type, in place of a key that is no plain value."""

    __slots__ = ()


@lru_cache(maxsize=1)
def _secrets() -> tuple[bytes, ...]:
    """Return the project's secrets, newest first; or one of this process."""
    try:
        keys: list[Any] = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
        # Some have one of bytes, whatever its documents say; or one that asks somebody else for it.
        texts = [key if type(key) is bytes else str(key).encode(errors="replace") for key in keys]
    except Exception as error:
        if not is_own(error):
            raise
        return (os.urandom(32),)
    return tuple(hashlib.sha256(b"tracing.keys:" + text).digest() for text in texts)


def _forget_secrets(*, setting: str, **_named: Any) -> None:
    if setting in {"SECRET_KEY", "SECRET_KEY_FALLBACKS"}:
        _secrets.cache_clear()
        known_as.cache_clear()


setting_changed.connect(_forget_secrets, dispatch_uid="tracing.redaction")


def digest(text: str | bytes) -> str:
    """Return what stands for a secret key, the same for the same key."""
    return _digests(text)[0]


def _digests(text: str | bytes) -> list[str]:
    """Return the same, and what stood for it under older secrets."""
    given = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
    return [hmac.digest(secret, given, "sha256").hex()[:DIGITS] for secret in _secrets()]


def number_text(number: int) -> str:
    """Return a number in digits, or its size where those would be too many."""
    bits = int.bit_length(number)
    return int.__repr__(number) if bits <= MAX_BITS else f"<int of {bits} bits>"


def _part_text(key: object, *, is_clear: bool, quote: bool = False) -> str:
    kind = type(key)
    if kind is int:
        return number_text(key)  # type: ignore[arg-type]
    if kind is UUID or kind is bool or key is None:
        return str(key)
    if kind is TypeName:
        return str.__str__(key)
    if kind is bytes:
        return digest(key)  # type: ignore[arg-type]
    text = str(key)
    if not is_clear:
        return digest(text)
    return repr(text) if quote and kind is str else text


def key_text(model: str, key: object) -> str:
    """Return the primary key of an instance of *model* as it is kept.

    Args:
        model: Label of the model.
        key: What ``attributes.arguments`` has kept: a plain value, or a tuple of them.
    """
    if type(key) is int:
        return number_text(key)
    is_clear = model.lower() in policy.clear_keys
    if type(key) is str and _is_number_or_uuid(key) and _has_numbers(model):
        # As a form or a path gave it: what the database will have is no text.
        return key
    if type(key) is tuple:
        parts = [_part_text(part, is_clear=is_clear, quote=True) for part in key]
        return f"({', '.join(parts)})"
    return _part_text(key, is_clear=is_clear)


@lru_cache(maxsize=1_000)
def _has_numbers(model: str) -> bool:
    """Return whether the keys of *model* are integers or UUIDs."""
    try:
        field: Any = apps.get_model(model)._meta.pk
        while field.remote_field is not None:
            field = field.target_field
    except (LookupError, ValueError, AttributeError):
        return False
    return isinstance(field, (IntegerField, UUIDField))


_PARTS: Final = pattern(r"\s*(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"|([^,]+?))\s*(?:,|$)")


@lru_cache(maxsize=64)
def known_as(instance: str) -> tuple[str, ...]:
    """Return the forms in which an instance may have been kept.

    Args:
        instance: As ``orders.Order:42`` or ``shop.Seat:(1, 'A')``.
    """
    label, colon, key = instance.partition(":")
    if not colon or not key:
        return (instance,)
    # As it is cut before it is digested.
    hidden = [f"{label}:{form}" for form in _digests(cut_key(key))]
    if "," not in key:
        return (instance, *hidden)
    clear: list[str] = []
    rows: list[list[str]] = []
    for single, double, bare in _PARTS.findall(key.removeprefix("(").removesuffix(")")):
        quoted = single or double
        is_bare = bare and not quoted
        clear.append(bare if is_bare else repr(quoted))
        rows.append([bare] * len(hidden) if is_bare else _digests(cut_key(quoted)))
    forms = (f"{label}:({', '.join(parts)})" for parts in (clear, *zip(*rows, strict=True)))
    return tuple(dict.fromkeys((instance, *hidden, *forms)))


MAX_KEY: Final = 100
"""Characters kept of a primary key that is a string."""


def cut_key(text: str) -> str:
    """Return a key that is a string, cut, until it is digested or shown."""
    return text if len(text) <= MAX_KEY else text[:MAX_KEY] + "…"


# --- texts -----------------------------------------------------------------------------------

_SUSPECT: Final = pattern(
    r"[=:>]|--|%3D|\s-[apuU]|[dDyY]\s+'|['\"]\s*,|(?i:ass(?:w|ph|code)|pwd|secret|key\s|session.?id|pin\s)"
    r"|\beyJ|AKIA|AIza|gh[a-z]_|[rs]k_|xox|(?i:earer)|asic|oken|igest|egotiate|invalid|uplicate|ailing"
)
"""What a text must hold to be looked at closely; most hold none of it."""

_LONG_RUN: Final = pattern(r"[A-Za-z0-9]{16}")
"""What tokens have somewhere, whatever they begin with."""

_PRIVATE_KEYS: Final = pattern(
    r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL
)
_WELL_KNOWN: Final = pattern(
    r"\beyJ[\w-]{8,}(?:\.[\w-]*)*|\b(?:AKIA|ASIA)[0-9A-Z]{12,}|\bAIza[\w-]{20,}"
    r"|\bgh[pousr]_\w{16,}|\b[rs]k_(?:live|test)_\w{8,}|\bxox[abeprs]-[\w-]{8,}"
    # Of hosts of code and packages, of models, of clouds, of those who send mail and take money.
    r"|\b(?:github_pat_|npm_|pypi-|hf_|whsec_|shp(?:at|ca|pa|ss)_|do[opr]_v1_|lin_api_|gls[ac]_|gl[a-z]{2,5}-)"
    r"[\w-]{16,}|\b(?:sk-|GOCSPX-|xapp-|sq0[a-z]{3}-|NRAK-|AGE-SECRET-KEY-)[\w-]{16,}"
    r"|\b(?:SG|ya29|hv[sbr]|dp\.[a-z]{2,6})\.[\w.-]{16,}|\bpscale_[a-z]{2,6}_[\w.-]{16,}"
    r"|\b(?:SK|dapi|key-)[0-9a-f]{32}\b|\b\d{8,10}:AA[\w-]{30,}|(?<=hooks\.slack\.com/services/)[\w/]+"
)
"""Tokens that show by their first letters whose they are."""
_ROWS: Final = pattern(
    r"(Key \([^)]*\)=\().*?(?=\)(?: |\.|\n|\Z)|\Z)|(Failing row contains \().*"
    r"|(Duplicate entry )'.*?'(?= for|\Z)|(invalid input (?:syntax|value) for [^:\n]{1,100}: ).*",
)
"""Where the messages of databases quote what is in a row."""
_NAMED: Final = pattern(
    r"(?:--|<)?(?<![^\W\d])(?P<name>[^\W\d][\w.\-]{0,199})(?:\[\w{0,30}\])?"
    r"(?:\\*[\"'\])]{0,2}\s*(?:=>|->|:=|={1,3}|%3[Dd]|:(?!//)|>)|\\*[\"']\s*,)\s*"
    r"|--(?P<option>[A-Za-z][\w\-]{0,63})\s+"
)
"""A name and what stands between it and its value: ``name=``, ``"name": ``, ``('name', ``."""
_QUOTED: Final = pattern(
    r"[bBuUrRfF]{0,2}(?:'(?:[^'\\]|\\.|'')*(?:'|\Z)|\"(?:[^\"\\]|\\.|\"\")*(?:\"|\Z)"
    r"|(?P<escaped>\\+[\"']).*?(?:(?P=escaped)|\Z))",
    re.DOTALL,
)
_UNTIL_NEXT: Final = pattern(
    r"\n|%26|[,;&]\s|\s+[\w.\-]+\s*[=:]|[,;&][\w.\-]+=|[\"'<](?=[\s,;)}\]/]|\Z)|[)}\]]+(?=[\s,.;]|\Z)"
)
_INDENTED: Final = pattern(r"[|>][-+0-9]{0,2}[ \t]*\n(?:[ \t]+[^\n]*(?:\n|\Z))+")
"""A value of YAML on lines of its own."""
_OF_ERRORS: Final = ("Error", "Exception", "Warning", "Failed", "Denied", "Invalid")
"""How names end that stand before a message, not before a value."""
_OPENING: Final = "([{"
_CLOSING: Final = ")]}"


MAX_TEXT: Final = 5_000
"""Characters of a text that are read; no longer one is kept."""


@lru_cache(maxsize=500)
def is_suspect(name: str) -> bool:
    """Return whether a name, as of a route, may hold a secret."""
    return _SUSPECT.search(name) is not None


def redact_text(text: str) -> str:
    """Return *text* without what looks like a secret in it."""
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT] + "…"
    if _SUSPECT.search(text) is None:
        return text if _LONG_RUN.search(text) is None else _WELL_KNOWN.sub(HIDDEN, text)
    text = _PRIVATE_KEYS.sub(HIDDEN, text)
    text = _redact_named(redact_spoken(redact_logins(text)))
    text = _WELL_KNOWN.sub(HIDDEN, text)
    return _ROWS.sub(_keep_groups, text)


def _keep_groups(match: re.Match[str]) -> str:
    return "".join(group for group in match.groups() if group) + HIDDEN


def _redact_named(text: str) -> str:
    """Return *text* with the values hidden that stand after a sensitive name."""
    parts: list[str] = []
    done = place = 0
    while (match := _NAMED.search(text, place)) is not None:
        place = match.end()
        name = match["name"] or match["option"]
        if name.endswith(_OF_ERRORS) or not policy.is_sensitive(name) or place == len(text):
            continue
        if is_message(text, place):
            continue
        parts += (text[done:place], HIDDEN)
        done = place = _value_end(text, place, name)
    parts.append(text[done:])
    return "".join(parts)


def _value_end(text: str, start: int, name: str) -> int:
    """Return where the value ends that begins at *start*, after *name*."""
    quoted = _QUOTED.match(text, start)
    if quoted is not None:
        return quoted.end()
    if text[start] in _OPENING:
        return _closed_at(text, start)
    if (indented := _INDENTED.match(text, start)) is not None:
        return indented.end()
    if "cookie" in name.lower() or name.lower().endswith("authorization"):
        end = text.find("\n", start)
        return len(text) if end < 0 else end
    following = _UNTIL_NEXT.search(text, start + 1)
    return len(text) if following is None else following.start()


def _closed_at(text: str, start: int) -> int:
    """Return where the bracket at *start* is closed; the end if it is not."""
    depth = 0
    place = start
    while place < len(text):
        quoted = _QUOTED.match(text, place) if text[place] in "'\"" else None
        if quoted is not None:
            place = quoted.end()
            continue
        depth += (text[place] in _OPENING) - (text[place] in _CLOSING)
        place += 1
        if not depth:
            return place
    return len(text)


def redact_error(error: str) -> str:
    """Return ``type: message`` with the secrets of the message hidden."""
    name, colon, message = error.partition(": ")
    if not colon or " " in name:
        return redact_text(error)
    return f"{name}: {redact_text(message)}"


# --- paths -----------------------------------------------------------------------------------

_NUMBER: Final = pattern(r"-?\d{1,19}")
_UUID: Final = pattern(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_WORD: Final = r"(?:[A-Z]{2,8}|[A-Z]?[^\W\d_A-Z]{0,20}(?:[A-Z][^\W\d_A-Z]{2,20}){0,2})\d{0,4}"
_SEGMENT: Final = pattern(rf"{_WORD}(?:[-_.~+:, ]{{1,2}}{_WORD}){{0,8}}")
"""What somebody may have written in a route: words and short numbers."""
_UNNAMED: Final = "…"


def redact_path(path: str, route: str | None, values: Mapping[str, Any] | Sequence[Any]) -> str:
    """Return the path of a request without what may be a token.

    Of the parameters of its route integers and UUIDs stay; another is told by its name. Where no
    route is known, what looks like a word, an integer or a UUID stays.

    Args:
        path: The path.
        route: The route that it matched; None if it matched none.
        values: What the route found in it: by name, or in order.
    """
    if route is None:
        return "/".join(map(_segment, path.split("/")))
    named = values.items() if hasattr(values, "items") else enumerate(values)
    for name, value in named:
        kind = type(value)
        if kind is int or kind is UUID or value is None:
            continue
        if kind is not str:
            return "/" + route.lstrip("^/")
        if not value or _is_number_or_uuid(value):
            continue
        path, count = re.subn(rf"(?<=/){re.escape(value)}(?=/|\Z)", f"<{name}>", path)
        if not count:
            return "/" + route.lstrip("^/")
    if "(" in route:
        # An expression may have matched more than it has named.
        return "/".join(each if _is_of_route(each, route) else _UNNAMED for each in path.split("/"))
    return path


def _is_number_or_uuid(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None or _UUID.fullmatch(text) is not None


def _is_of_route(segment: str, route: str) -> bool:
    return (
        segment in route
        or (segment.startswith("<") and segment.endswith(">"))
        or _is_number_or_uuid(segment)
    )


def _segment(segment: str) -> str:
    if _is_number_or_uuid(segment) or _SEGMENT.fullmatch(segment):
        return segment
    return _UNNAMED
