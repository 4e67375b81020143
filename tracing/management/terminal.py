"""The terminal: tables for people, JSON for machines, on stdout.

Text is laid out here, whatever is installed; rich, an extra, adds colours where somebody is looking.
"""

from __future__ import annotations

import io
import os
import shutil
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final, TextIO, cast

from tracing.management.layout import Table, Text, rows_of, wrapped
from tracing.spans.escapes import escape_control, json_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.core.management.base import OutputWrapper

NEEDS_RICH: Final = (
    "Colours need the rich library: pip install 'django-signal-tracing[cli]'. "
    "The text is the same without it."
)
PIPED_WIDTH: Final = 160
"""Columns when nothing says how wide the reader is: a file or a pager."""


class OutputError(Exception):
    """Standard output takes no more, as a full disk."""


class _Nowhere(io.TextIOBase):
    """Stands for a stream that was closed before the process began.

    What is written to it is gone, as what ``print()`` writes then.
    """

    def write(self, text: str, /) -> int:
        """Take *text*."""
        return len(text)


def opened(stream: TextIO | None, usual: TextIO | None) -> TextIO:
    """Return *stream* or the *usual* one; one that takes all for neither."""
    return stream or usual or cast("TextIO", _Nowhere())


class _Stream:
    """A terminal's stdout as a file for rich."""

    encoding = "utf-8"

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def write(self, text: str) -> int:
        self._terminal.raw(text)
        return len(text)

    def flush(self) -> None:
        self._terminal.flush()

    def isatty(self) -> bool:
        return self._terminal.is_terminal


class Terminal:
    """The terminal that a verb writes to.

    Args:
        stdout: The command's.
        stderr: The command's, for warnings.
        no_color: Write no escape codes at all. So does the environment variable NO_COLOR, and so
            does writing into a pipe or file.
        force_color: Write them nevertheless.
        outlives_reader: Go on when the reader has gone: the verb has a verdict to reach.
    """

    def __init__(
        self,
        stdout: OutputWrapper,
        stderr: OutputWrapper,
        *,
        no_color: bool = False,
        force_color: bool = False,
        outlives_reader: bool = False,
    ) -> None:
        self._outlives_reader = outlives_reader
        self.has_lost_reader = False
        self._stdout = stdout
        self._stderr = stderr
        self._force_color = force_color
        no_color = no_color or bool(os.environ.get("NO_COLOR"))
        self._is_coloured = force_color or (self.is_terminal and not no_color)
        self._colour: Callable[[Text], None] | None = None

    @property
    def is_terminal(self) -> bool:
        """Return whether somebody is looking."""
        return bool(self._stdout.isatty())

    @property
    def errors(self) -> OutputWrapper:
        """Return the command's stderr."""
        return self._stderr

    @property
    def width(self) -> int:
        """Return how many columns there are."""
        if self.is_terminal:
            return shutil.get_terminal_size().columns
        columns = os.environ.get("COLUMNS", "")
        return int(columns) if columns.isdecimal() and int(columns) else PIPED_WIDTH

    def print(self, *what: Text | Table) -> None:
        """Write texts and tables on lines of their own; an empty line for none."""
        lines = [line for each in what or (Text(),) for line in self._laid_out(each)]
        if self._is_coloured and self._colour is None:
            self._colour = self._coloured_by_rich()
        for line in lines:
            if self._colour is None:
                self.raw(f"{line.plain.rstrip()}\n")
            else:
                self._colour(line)

    def say(self, *parts: Text | tuple[object, str] | object) -> None:
        """Write one text on a line of its own, of parts as ``joined`` takes them."""
        self.print(joined(*parts))

    def _laid_out(self, what: Text | Table) -> Iterator[Text]:
        if isinstance(what, Table):
            return rows_of(what, self.width)
        # A file needs no sentences broken into lines, unless its reader said how wide it is.
        is_broken = self.is_terminal or "COLUMNS" in os.environ
        return wrapped(what, self.width) if is_broken else what.lines()

    def _coloured_by_rich(self) -> Callable[[Text], None] | None:
        """Return what writes a line in its styles; None without rich."""
        try:
            from rich.console import Console  # noqa: PLC0415 - an extra.
            from rich.text import Text as RichText  # noqa: PLC0415
        except ImportError:
            self._is_coloured = False
            if self._force_color:
                self.warn(NEEDS_RICH)
            return None
        console = Console(
            file=cast("IO[str]", _Stream(self)),
            force_terminal=True if self._force_color else None,
            no_color=False if self._force_color else None,
        )

        def write(line: Text) -> None:
            console.print(RichText.assemble(*line.parts), soft_wrap=True)

        return write

    def json(self, value: Any, *, lines: bool = False) -> None:
        """Write *value* as JSON, indented; with *lines*, on one line."""
        text = json_text(value, indent=None if lines else 2)
        if encodable(text, self._stdout) != text:
            text = json_text(value, indent=None if lines else 2, ascii_only=True)
        self.raw(f"{text}\n")

    def raw(self, text: str) -> None:
        """Write *text* as it is, with no line end of its own.

        Raises:
            BrokenPipeError: The reader has gone.
            OutputError: It cannot be written.
        """
        with self._told_apart():
            self._stdout.write(encodable(text, self._stdout), ending="")

    def warn(self, message: str) -> None:
        """Write a line to stderr."""
        self._stderr.write(encodable(escape_control(message), self._stderr))

    def flush(self) -> None:
        """Have what was written appear; raises as ``raw()`` does."""
        with self._told_apart():
            self._stdout.flush()

    @contextmanager
    def _told_apart(self) -> Iterator[None]:
        """Tell a stdout that takes no more from files that fail."""
        try:
            yield
        except BrokenPipeError:
            self.has_lost_reader = True
            if not self._outlives_reader:
                raise
        except OSError as error:
            raise OutputError(error.strerror or str(error)) from error


def encodable(text: str, out: OutputWrapper) -> str:
    """Return *text* with escapes for what the encoding of *out* lacks."""
    encoding = getattr(out, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:
        pass
    return text


def text(content: object = "", style: str = "") -> Text:
    """Return *content* as text in a style, harmless."""
    return Text((escape_control(content), style))


def joined(*parts: Text | tuple[object, str] | object) -> Text:
    """Return texts, values and pairs (value, style) as one text.

    A value that is a line end stays one.
    """
    whole = Text()
    for part in parts:
        if isinstance(part, Text):
            whole.append(part)
            continue
        content, style = part if isinstance(part, tuple) else (part, "")
        whole.append(Text(("\n", "")) if content == "\n" else text(content, str(style)))
    return whole


def stacked(*texts: Text) -> Text:
    """Return *texts* as one, each on lines of its own."""
    whole = Text()
    for each in texts:
        if whole:
            whole.append(Text(("\n", "")))
        whole.append(each)
    return whole


def table(*columns: str, right: tuple[str, ...] = (), flexible: str | None = None) -> Table:
    """Return an empty table with these headings.

    Args:
        columns: The headings.
        right: Those that hold numbers: they are aligned to the right.
        flexible: The one that gives way where the terminal is too narrow; the last unless given.
    """
    return Table(columns, right, columns[-1] if flexible is None else flexible)
