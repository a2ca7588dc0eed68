"""What a command writes: errors with a code as one line, and what a terminal can show."""

import errno
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import DataError, Errors

DEBUG = False
"""Whether errors show where they come from: `python -m spacy jbert --debug …`."""


def show_tracebacks(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error comes from (the traceback)")
    ] = False,
) -> None:
    """Commands for pipelines with a Japanese BERT."""
    global DEBUG
    DEBUG = debug


@contextmanager
def coded_errors() -> Iterator[None]:
    """Show an error that has a code (ours, or spaCy's) as one line on stderr, with exit status 1,
    and any other one with its traceback. A file, or a terminal, that can't be read or written gets
    a code here.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough
        raise
    except (ValueError, ImportError, OSError) as error:
        if DEBUG:
            raise
        message = str(error)
        if not isinstance(error, DataError) and not re.match(r"\[[A-Z]+\d+\]", message):
            if not isinstance(error, OSError) or error.errno is None:
                raise
            message = Errors.J095.format(
                path=error.filename or "standard output", reason=os.strerror(error.errno)
            )
        print(message, file=sys.stderr)
        raise typer.Exit(1) from None


def check_target(path: Path) -> None:
    """Refuse a file that can't be written, before the work is done that it is to hold.

    RAISES: OSError.
    """
    there = next(part for part in (path, *path.absolute().parents) if part.exists())
    if there == path and path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "", str(path))
    if there != path and not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "", str(there))
    if not os.access(there, os.W_OK):
        raise PermissionError(errno.EACCES, "", str(there))


def print_json(value: Any) -> None:
    """Print JSON, without what the terminal's encoding (CP932, ASCII) may lack: escapes mean the
    same in all.
    """
    utf_8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(value, ensure_ascii=not utf_8, indent=2))
