"""Secrets told in words, on command lines and in the addresses of a login.

None of them stands after a name and a sign. So a word decides, and what does not look like a secret stays:
``password xK3-9`` loses it, ``password is required`` does not.
"""

from __future__ import annotations

import re
from typing import Final

from tracing.patterns import pattern

HIDDEN: Final = "********************"

_WORDS: Final = pattern(r"[A-Za-z]++(?:[-_./+']++[A-Za-z]*+)*+|\d{1,3}|\W*")
"""What is written in sentences: words, also joined, and small numbers."""
_TOLD: Final = pattern(
    r"((?P<kind>pass(?:word|wd|phrase|code|wort)|pwd|(?-i:PIN)|(?:api|access|secret|private|license)[ _-]?key"
    r"|token|secret|session[ _-]?id)"
    r"(?:\s+(?:provided|given|supplied|entered|used)\s*:)?(?P<is>\s+(?:is|was)(?:\s*:)?)?\s+)"
    r"(?:(?P<quote>['\"`])(?P<quoted>[^'\"`\n]{3,})(?P=quote)|(?P<bare>[^\s'\"`(\[{<,;/~.][^\s'\"`<,;]{2,}))",
    re.IGNORECASE,
)
_FOLLOWS: Final = pattern(
    r"[a-z-]*(?:ed|ing|able|ible|ly|ent|ory|al|id|ect|ive|ful|less|ous|ary|est|n't)|too|not|the|this|that|same|empty"
    r"|missing|null|none|set|unset|reset|weak|strong|wrong|blank|short|long|longer|shorter|older|newer|more|less|than|also|now|still"
    r"|never|always|only|just|already|unknown|unclear|true|false|safe|unsafe|fine|okay|good|bad|new|old|both|part|similar|hidden|sent"
    r"|with|from|what|here|there|case|plain|clear|for|over|under|after|before|like|all|one|any|some|most|your|his|her|our|their|its",
    re.IGNORECASE,
)
"""Words that follow *password is*."""
_MESSAGE: Final = pattern(
    r"(?:YES|NO)\)|(?:this|the|no|not|must|required|invalid|missing|incorrect|command|authentication|too|is|was|are|may|can|cannot"
    r"|should|enter|field|to|and|or|for|in|on|with|option|flag|has|have|does|did|at|please|expected|unknown|wrong)(?=\s|[.,;!]|\Z)",
    re.IGNORECASE,
)
"""How a message begins that stands where a value might: ``password: This field is required``."""
_COMMANDS: Final = pattern(
    # MySQL's programs take the password without a space, the others with or without one.
    r"(\b(?:mysql|mariadb)[\w-]*\b[^\n]{0,300}?[\s'\"]-p(?=['\"]?[\w!@#$%^&*+])['\"]?)[^\s'\",\]]+"
    r"|(\bsshpass['\"]?,?\s+['\"]?-p[\s'\",]*)[^\s'\",\]]+"
    r"|(\b(?:mongo\w*|(?:docker|podman|helm)['\",\s]+login)\b[^\n]{0,300}?[\s'\"]-p[\s'\",]+)[^\s'\",\]]+"
    r"|(\bredis-cli\b[^\n]{0,300}?[\s'\"]-a[\s'\",]+)[^\s'\",\]]+"
    r"|(\b(?:curl|https?(?=\s))\b[^\n]{0,300}?[\s'\"]-(?:u|U|a|-user|-proxy-user|-auth)[\s=,'\"]{0,4}[^\s:'\"]{1,64}:)(?!//)[^\s'\"]+"
    r"|((?i:\b(?:PASSWORD|IDENTIFIED(?: WITH \w{1,40})? BY)\s+))'(?:[^'\\]|\\.|'')*(?:'|\Z)"
)
"""Where a command line or SQL sets a password."""
_USER_IN_URL: Final = pattern(
    r"(\b[A-Za-z][\w+.-]{0,30}://)(?:[^\s'\"<>]*@|[^\s/@'\"<>]*:(?!\d*(?:[/?#,;)'\"\s]|\Z))[^\s/@'\"<>]*\Z)"
    r"|((?<![:\w/])//)[^\s/:@'\"<>]{0,64}:[^\s/'\"<>]{1,200}@"
)
"""``scheme://user:password@``, also where the text was cut before the ``@``; and without its scheme."""
_USER_AT: Final = pattern(
    r"(?<![\w/@.:%+*-])(?!(?:mailto|sips?|xmpp|acct|e-?mail|npm|cc|bcc|to|from):)[A-Za-z_][\w.+-]{0,63}:"
    r"(?:[^\s'\"<>]{1,200}?@(?=(?:tcp|udp|unix|pipe)[a-z0-9]{0,6}\(|\(|/\w)"
    r"|[^\s/@'\"<>]{1,200}@(?=[\w.-]{1,200}(?::\d{2,5}\b|/\w)))",
    re.IGNORECASE,
)
"""``user:password@tcp(host)/name`` of drivers, and ``user:password@host:port``."""
_SCHEMES: Final = pattern(
    r"\b(Bearer\s+(?:token\s+)?)(\S{4,})|\b((?:Basic|Digest|Token|Negotiate)\s+)(\S{6,})",
    re.IGNORECASE,
)
_HUMPS: Final = pattern(r"(?:[A-Z]{1,6}|[A-Z]?[a-z]{2,})(?:[A-Z][a-z]{2,}|[A-Z]{2,5})*")
"""Words that are written together, as in the name of a class."""
_OF_SCHEMES: Final = pattern(
    r"(?:auth|token|credential|scheme|prefix|format|header|realm|challenge)[a-z]*|required|expected|missing|invalid"
    r"|[a-z]*(?:ed|ing|ions?|[ai]ble|ments?|ity|ly|ers?|al)",
    re.IGNORECASE,
)
"""Words that follow the name of a scheme in a message."""
_LOGIN: Final = pattern(r"(?<=[?&#])((?:code|state|session_state|nonce|ticket)=)([^&\s#'\"<>,;]+)")
_CALLBACK: Final = pattern(
    r"callback|oauth|oidc|/sso|/login|/complete|/authori[sz]e", re.IGNORECASE
)


def is_message(text: str, start: int) -> bool:
    """Return whether a message begins at *start*, not a value."""
    return _MESSAGE.match(text, start) is not None


def redact_logins(text: str) -> str:
    """Return *text* without the users of addresses and the tokens of schemes."""
    if "//" in text:
        text = _USER_IN_URL.sub(_keep_address, text)
    if "@" in text:
        text = _USER_AT.sub(HIDDEN + "@", text)
    return _SCHEMES.sub(_of_scheme, text)


def _keep_address(match: re.Match[str]) -> str:
    return f"{match[1] or match[2]}{HIDDEN}@"


def _of_scheme(match: re.Match[str]) -> str:
    bearer, token, scheme, response = match.groups()
    if bearer:
        is_secret = _DIGIT.search(token) or len(token) >= _LONG or _is_token(token, bearer)
    else:
        is_secret = _OF_BASE64.search(response) or _is_token(response, "")
    return f"{bearer or scheme}{HIDDEN}" if is_secret else match[0]


def _is_token(text: str, bearer: str) -> bool:
    """Return whether *text*, all of letters, is no word of a sentence.

    Args:
        text: What follows the name of a scheme.
        bearer: That name, as headers have it; empty for other schemes.
    """
    word = text.strip("'\"`,.;:!?()[]{}<>")
    if not word.isascii() or not word.isalpha():
        return False
    if _HUMPS.fullmatch(word) is None and not word.isupper():
        return True
    if len(word) >= _LONGEST_WORD and (word.isupper() or word[1:].islower()):
        return True
    if not word.isupper() and not _VOWEL.search(word):
        return True
    is_header = bearer[:1] == "B" and len(word) >= _SHORTEST
    return is_header and word.islower() and _OF_SCHEMES.fullmatch(word) is None


def redact_spoken(text: str) -> str:
    """Return *text* without what a word, a command or a login says is secret."""
    if "-" in text or "'" in text:
        text = _COMMANDS.sub(_keep_groups, text)
    if "=" in text:
        text = _LOGIN.sub(_of_login, text)
    lower = text.lower()
    if any(map(lower.__contains__, _TELLING)):
        text = _TOLD.sub(_of_sentence, text)
    return text


_TELLING: Final = ("pass", "key", "pin", "token", "secret", "session", "pwd")


def _keep_groups(match: re.Match[str]) -> str:
    return "".join(group for group in match.groups() if group) + HIDDEN


def _of_login(match: re.Match[str]) -> str:
    address = match.string[max(0, match.start() - 300) : match.start()].rsplit(None, 1)[-1]
    # A code or a state of the application's own is a word or a short number.
    is_secret = len(match[2]) >= 20 or _CALLBACK.search(address) is not None  # noqa: PLR2004
    return match[1] + HIDDEN if is_secret else match[0]


def _of_sentence(match: re.Match[str]) -> str:
    quote = match["quote"] or ""
    value = match["quoted"] or match["bare"]
    secret = value if quote else value.rstrip(".,;:!?)]}")
    if not _is_told(
        match["kind"].lower(), secret, is_quoted=bool(quote), is_said=bool(match["is"])
    ):
        return match[0]
    return f"{match[1]}{quote}{HIDDEN}{quote}{value[len(secret) :]}"


def _is_told(kind: str, value: str, *, is_quoted: bool, is_said: bool) -> bool:
    """Return whether *value*, which follows a word for a secret, is one.

    Args:
        kind: The word.
        value: What follows.
        is_quoted: Whether it stands in quotes.
        is_said: Whether *is* stands before it.
    """
    is_word = _WORDS.fullmatch(value) is not None
    if kind in {"token", "secret"}:
        # Parsers quote tokens and count them.
        return not is_word and not is_quoted and len(value) >= _SHORTEST
    if not is_word or not kind.startswith("p"):
        return not is_word
    if is_quoted or is_said:
        return len(value) > 2 and _FOLLOWS.fullmatch(value) is None  # noqa: PLR2004
    return not _VOWEL.search(value) and value.isalpha() and not value.isupper()


_SHORTEST: Final = 8
_LONG: Final = 24
"""Characters of what is no word, whatever is in it."""
_LONGEST_WORD: Final = 17
_DIGIT: Final = pattern(r"\d")
_OF_BASE64: Final = pattern(r"[\d=+/]")
_VOWEL: Final = pattern("[aeiouAEIOU]|^(?:try|why|by)$")
"""No word of a sentence is without one, but for a few."""
