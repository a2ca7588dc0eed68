"""Output that no terminal is too old for (CP932 on Windows, ASCII under LC_ALL=C), and how a
script ends."""

import io
import sys
from collections.abc import Callable

import typer

from .errors import DataError


def run(command: Callable[..., None]) -> None:
    """Run a script's command; a DataError, or a file that the system won't open, is one line on
    stderr and exit status 1. What the terminal can't show is escaped.
    """
    replace_unshowable()
    try:
        typer.run(command)
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def replace_unshowable() -> None:
    """Make stdout and stderr escape (\\u2026) what their encoding lacks, where they would raise.

    A command calls it before it does anything: then it can't fail over a message once its work is
    done.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
