"""Output that no terminal is too old for (CP932 on Windows, ASCII under LC_ALL=C)."""

import io
import sys


def replace_unshowable() -> None:
    """Make stdout and stderr escape (\\u2026) what their encoding lacks, where they would raise.

    A command calls it before it does anything: then it can't fail over a message once its work is
    done.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
