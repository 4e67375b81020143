"""The terminal: text and tables for people, JSON for machines, on the command's own stdout."""

# ruff: noqa: PLC0415 - rich is optional: JSON works without it.

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Any, Final, TypeGuard, cast

from django.core.management.base import CommandError

from tracing.spans.escapes import escape_control, json_text

if TYPE_CHECKING:
    from django.core.management.base import OutputWrapper
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

NEEDS_RICH: Final = (
    "Text output needs the rich library: pip install 'django-signal-tracing[cli]'. "
    "--format json works without it."
)
PIPED_WIDTH: Final = 160
"""Columns when nothing says how wide the reader is: a file or a pager."""

_LEAST_ROOM: Final = 20
"""Columns that a sentence needs; with fewer it may begin at the left edge."""


class _Stream:
    """Django's stdout wrapper as the file that rich wants: it adds no line ends."""

    encoding = "utf-8"

    def __init__(self, stdout: OutputWrapper) -> None:
        self._stdout = stdout

    def write(self, text: str) -> int:
        self._stdout.write(encodable(text, self._stdout), ending="")
        return len(text)

    def flush(self) -> None:
        self._stdout.flush()

    def isatty(self) -> bool:
        return bool(self._stdout.isatty())


class Terminal:
    """Where a verb writes.

    Args:
        stdout: The command's.
        stderr: The command's, for warnings.
        no_color: Write no escape codes at all. So does the environment variable NO_COLOR, and so
            does writing into a pipe or file.
        force_color: Write them nevertheless.
    """

    def __init__(
        self,
        stdout: OutputWrapper,
        stderr: OutputWrapper,
        *,
        no_color: bool = False,
        force_color: bool = False,
    ) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._no_color = no_color or bool(os.environ.get("NO_COLOR"))
        self._force_color = force_color
        self._console: Console | None = None

    @property
    def is_terminal(self) -> bool:
        """Return whether somebody is looking."""
        return bool(self._stdout.isatty())

    @property
    def console(self) -> Console:
        """Return the console of the ``rich`` library.

        Raises:
            CommandError: The library is not installed.
        """
        if self._console is None:
            try:
                from rich.console import Console
            except ImportError:
                raise CommandError(NEEDS_RICH) from None
            plain = (self._no_color or not self.is_terminal) and not self._force_color
            self._console = Console(
                file=cast("IO[str]", _Stream(self._stdout)),
                color_system=None if plain else "auto",
                force_terminal=True if self._force_color else None,
                no_color=plain,
                width=None if self.is_terminal else _piped_width(),
                highlight=False,
                markup=False,
                emoji=False,
                soft_wrap=False,
            )
        return self._console

    @property
    def width(self) -> int:
        """Return how many columns there are."""
        return self.console.width

    def print(self, *what: RenderableType) -> None:
        """Write text, tables and whatever else rich can render."""
        for each in what:
            self._fit(each)
        if self.is_terminal:
            self.console.print(*map(self._indented, what))
            return
        # A file needs neither the spaces that fill the last column nor sentences broken into lines,
        # unless its reader said how wide it is.
        whole = "COLUMNS" not in os.environ
        with self.console.capture() as capture:
            for each in what or ("",):
                shown = each if whole else self._indented(each)
                self.console.print(shown, soft_wrap=whole and not _is_table(each))
        lines = capture.get().split("\n")
        self.raw("\n".join(line.rstrip() for line in lines))

    def _fit(self, what: RenderableType) -> None:
        """Have the flexible column of a table give way, if it is wider than the terminal."""
        from rich.measure import Measurement

        if _is_table(what):
            unlimited = self.console.options.update_width(100_000)
            needed = Measurement.get(self.console, unlimited, what).maximum
            what.expand = needed > self.width

    def _indented(self, what: RenderableType) -> RenderableType:
        """Return text broken into lines that begin where the line they belong to begins."""
        from rich.text import Text

        if not isinstance(what, Text):
            return what
        lines: list[Text] = []
        for line in what.split("\n", allow_blank=True):
            indent = len(line.plain) - len(line.plain.lstrip(" "))
            room = self.width - indent
            if not indent or room < _LEAST_ROOM or line.cell_len <= self.width:
                lines.append(line)
                continue
            parts = line[indent:].wrap(self.console, room)
            lines.extend(Text(" " * indent).append_text(part) for part in parts)
        return Text("\n").join(lines)

    def json(self, value: Any, *, lines: bool = False) -> None:
        """Write *value* as JSON: indented for one document, on one line with *lines*."""
        text = json_text(value, indent=None if lines else 2)
        if encodable(text, self._stdout) != text:
            text = json_text(value, indent=None if lines else 2, ascii_only=True)
        self._stdout.write(text)

    def raw(self, text: str) -> None:
        """Write *text* as it is, with no line end of its own."""
        self._stdout.write(encodable(text, self._stdout), ending="")

    def warn(self, message: str) -> None:
        """Write a line to stderr."""
        self._stderr.write(encodable(plain(message), self._stderr))

    def flush(self) -> None:
        """Have what was written appear."""
        self._stdout.flush()


def encodable(text: str, out: OutputWrapper) -> str:
    """Return *text* with escapes for what the encoding of *out* lacks: a terminal's may be ASCII."""
    encoding = getattr(out, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:
        pass
    return text


def _is_table(what: RenderableType) -> TypeGuard[Table]:
    from rich.table import Table

    return isinstance(what, Table)


def _piped_width() -> int:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() and int(columns) else PIPED_WIDTH


plain = escape_control


def text(content: object = "", style: str = "") -> Text:
    """Return *content* as text in a style, harmless."""
    from rich.text import Text

    return Text(plain(content), style=style)


def joined(*parts: tuple[object, str] | object) -> Text:
    """Return one text of several parts: values or (value, style); a lone line end is one."""
    from rich.text import Text

    whole = Text()
    for part in parts:
        content, style = part if isinstance(part, tuple) else (part, "")
        whole.append("\n" if content == "\n" else plain(content), style=str(style))
    return whole


def table(*columns: str, right: tuple[str, ...] = (), flexible: str | None = None) -> Any:
    """Return an empty table with these headings.

    Args:
        columns: The headings.
        right: Those that hold numbers: they are aligned to the right.
        flexible: The one that gives way where the terminal is too narrow; the last unless given.
    """
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for name in columns:
        made.add_column(
            name,
            justify="right" if name in right else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if name == (columns[-1] if flexible is None else flexible) else None,
        )
    return made
