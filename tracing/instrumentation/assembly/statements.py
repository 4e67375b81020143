"""SQL statements without values, to be compared and stored."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from django.conf import settings

_COMMENT: Final = r"--[^\n]*|\#(?![>\-\#=])[^\n]*|/\*(?:(?!\*/|/\*).)*(?:\*/|/\*.*|\Z)"
"""One within another, as PostgreSQL allows: all to the end."""
_ESCAPING: Final = r"'(?:[^'\\]|''|\\.)*(?:'|\\?\Z)"
"""Text in which a backslash escapes what follows; its end may be cut off."""
_STANDARD_TEXT: Final = r"(?<=ESCAPE\ )'\\'|'(?:[^'\\]|''|\\(?!'))*(?:'|\Z)|'.*"
"""Text of other databases. A quote after a backslash may be its end or not: all to the end."""
_OTHER_TEXT: Final = (
    r"\$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)"
    r"|\b[nN]?[qQ]'(?:\[.*?(?:\]'|\Z)|\{.*?(?:\}'|\Z)|\(.*?(?:\)'|\Z)|<.*?(?:>'|\Z)"
    r"|(?P<mark>\S).*?(?:(?P=mark)'|\Z))"
    rf"|\b[eE]{_ESCAPING}"
)
"""``$tag$ ... $tag$`` and ``E'...'`` of PostgreSQL, ``q'[...]'`` of Oracle."""
_NUMBER: Final = r"(?<!\w)0[xXbBoO][\da-fA-F_]+\b|\b\d[\d_]*(?:\.\d*)?(?:[eE][+-]?\d+)?\b"
_PREFIX: Final = r"(?:\b[nNbBxX]|\b[uU]&)?"
_DOUBLE: Final = r'"(?:[^"\\]|""|\\.)*(?:"|\\?\Z)'


def _tokens(text: str) -> re.Pattern[str]:
    """Return the pattern of all that is no plain SQL."""
    return re.compile(
        rf"(?P<comment>{_COMMENT})|(?P<value>{_OTHER_TEXT}|{_PREFIX}(?:{text})|{_NUMBER})"
        rf"|(?P<name>`(?:[^`]|``)*`)|(?P<double>{_DOUBLE})",
        re.DOTALL,
    )


_STANDARD: Final = _tokens(_STANDARD_TEXT)
_OF_MYSQL: Final = _tokens(_ESCAPING)

_IDENTIFIER: Final = re.compile(r'"[^\W\d][\w$. -]{0,62}"')
_BEFORE_A_VALUE: Final = re.compile(
    r"(?:[=<>~|]|\b(?:like|ilike|glob|regexp|rlike|match|then|else|between)"
    r"|\b(?:values|in)\s*\((?:\s*(?:\?|%s|[\d.]+|\"[^\"]*\"|'[^']*')\s*,)*)\s*\Z",
    re.IGNORECASE,
)
_AFTER_A_NAME: Final = re.compile(r"\s*[.(]")

_LISTS: Final = re.compile(r"\(\s*(?:%s|\?)(?:\s*,\s*(?:%s|\?))+\s*\)")
_SPACE: Final = re.compile(r"\s+")
_SAVEPOINT: Final = re.compile(r"\s*((?:RELEASE |ROLLBACK TO )?SAVEPOINT)\s.*", re.DOTALL)
"""Django names every savepoint anew: kept whole, each would be a statement of its own."""


def quotes_text(alias: str) -> bool:
    """Return whether double quotes hold text, as in MySQL."""
    engine = str(settings.DATABASES.get(alias, {}).get("ENGINE", "")).lower()
    return "mysql" in engine or "mariadb" in engine


def _replaced(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if kind == "name":
        return match[0]
    if kind == "comment":
        return " "
    if kind == "double" and _names_something(match):
        return match[0]
    return "?"


def _names_something(match: re.Match[str]) -> bool:
    """Return whether double quotes hold a name, as SQLite decides."""
    if _IDENTIFIER.fullmatch(match[0]) is None:
        return False
    text = match.string
    if _AFTER_A_NAME.match(text, match.end()) is not None:
        return True
    return _BEFORE_A_VALUE.search(text, max(0, match.start() - 200), match.start()) is None


@lru_cache(maxsize=5_000)
def normalised(sql: str, mysql: bool = False) -> str:
    """Return *sql* without comments, with ``?`` for each value or list.

    Args:
        sql: The statement, which may have been cut off anywhere.
        mysql: Whether double quotes hold text and a backslash escapes.
    """
    sql = _SAVEPOINT.sub(r"\1", sql)
    tokens, replaced = (_OF_MYSQL, _of_mysql) if mysql or "`" in sql else (_STANDARD, _replaced)
    sql = tokens.sub(replaced, sql)
    return _SPACE.sub(" ", _LISTS.sub("(…)", sql)).strip()


def _of_mysql(match: re.Match[str]) -> str:
    return "?" if match.lastgroup == "double" else _replaced(match)
