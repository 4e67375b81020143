"""Starting the collector, unnoticed, from the application.

The collector is nobody's child: an application that waits for its children, or is told when one ends,
learns of none. On Linux a process can be made that sends no signal when it ends and that ``wait()``
passes over; it starts the collector in a session of its own and ends. Elsewhere none is started.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Any, Final

from tracing.clocks import time
from tracing.spool.folder import CAN_LOCK, Folder, Turn

logger = logging.getLogger("tracing")

_STACK_BYTES: Final = 256 * 1024
_WCLONE: Final = -0x80000000
"""Waits for children that send no signal, and no others."""
_FIRST_PAUSE: Final = 5.0
_LONGEST_PAUSE: Final = 300.0


_APART: Final = """
import os, runpy
os.setsid()
os.closerange(3, os.sysconf("SC_OPEN_MAX"))
runpy.run_module("django", run_name="__main__")
"""
"""As ``python -m django``, in a session of its own and with nothing open that was open here."""


def impossible(settings_module: str) -> str:
    """Return why no collector can be started from here; empty if it can."""
    if not CAN_LOCK:
        return "there are no file locks on this system"
    if not sys.platform.startswith("linux"):
        return "only on Linux can a process be started that is nobody's child"
    if not settings_module:
        return "the settings are in no module"
    if not Path(sys.executable or "").name.startswith(("python", "pypy")):
        return f"{sys.executable or 'the interpreter'} is no Python to start it with"
    return ""


def why_impossible(settings_module: str) -> str:
    """Return the same after trying whether this process can start one at all."""
    if why := impossible(settings_module):
        return why
    try:
        start_apart("exit 0")
    except OSError as error:
        return f"this system starts no process that is nobody's child ({error})"
    return ""


class Starter:
    """Starts a collector when nobody collects, with growing patience."""

    def __init__(self, folder: Folder, settings_module: str) -> None:
        self._folder = folder
        self._settings_module = settings_module
        self._next_at = 0.0
        self._pause = _FIRST_PAUSE
        self._tried = 0

    def __call__(self) -> bool:
        """Start one if there is none; return whether that was tried."""
        now = time.monotonic()
        if now < self._next_at:
            return False
        self._next_at = now + 1.0
        try:
            if Turn(self._folder).is_taken():
                self._pause, self._tried = _FIRST_PAUSE, 0
                return False
            if self._tried == 2:  # noqa: PLR2004 - twice may be bad luck.
                logger.error(
                    "The collector does not stay. What is recorded waits in %s; to see why, run: "
                    "python manage.py tracing collect",
                    self._folder.path,
                )
            self._next_at = now + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            self._tried += 1
            start_apart(_command(self._settings_module))
        except OSError as error:
            logger.warning("The collector of %s cannot be started: %s", self._folder.path, error)
            self._next_at = now + _LONGEST_PAUSE
        return True


def _command(settings_module: str) -> str:
    """Return the command of a collector, for a shell."""
    path = os.pathsep.join(str(Path(entry or ".").resolve()) for entry in sys.path)
    environment = {"DJANGO_SETTINGS_MODULE": settings_module, "PYTHONPATH": path}
    words = [
        "env",
        *(f"{name}={value}" for name, value in environment.items()),
        *(sys.executable, "-c", _APART, "tracing", "collect", "--until-idle"),
    ]
    return f"exec {shlex.join(words)} </dev/null >/dev/null 2>&1 &"


def start_apart(command: str) -> None:
    """Have a shell run *command* as nobody's child, in the background.

    Raises:
        OSError: This system does not allow that.
    """
    import ctypes  # noqa: PLC0415 - once in the life of few processes.
    import mmap  # noqa: PLC0415

    libc: Any = ctypes.CDLL(None, use_errno=True)
    stack = mmap.mmap(-1, _STACK_BYTES)
    begin = ctypes.c_char.from_buffer(stack)
    top = (ctypes.addressof(begin) + _STACK_BYTES) & ~15
    system = ctypes.cast(libc.system, ctypes.c_void_p)
    libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    # No flag, so nothing is shared; no signal either, which is what makes it go unnoticed. It runs no
    # Python: the interpreter is as it was in the middle of something.
    process = libc.clone(system, top, 0, ctypes.c_char_p(command.encode()))
    if process < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    _, status = os.waitpid(process, _WCLONE)
    if code := os.waitstatus_to_exitcode(status):
        raise OSError(f"the shell ended with {code}")
