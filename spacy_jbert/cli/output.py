"""What a command writes: errors with a code as one line, and what a terminal can show."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from ..errors import DataError

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
    and any other one with its traceback.
    """
    try:
        yield
    except (ValueError, ImportError, OSError) as error:
        coded = isinstance(error, DataError) or re.match(r"\[[A-Z]+\d+\]", str(error))
        if DEBUG or not coded:
            raise
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


def print_json(value: Any) -> None:
    """Print JSON, without what the terminal's encoding (CP932, ASCII) may lack: escapes mean the
    same in all.
    """
    utf_8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(value, ensure_ascii=not utf_8, indent=2))
