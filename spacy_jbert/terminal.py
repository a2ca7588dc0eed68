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


def shows_unicode() -> bool:
    """RETURNS (bool): Whether stdout takes all characters. If not, JSON has to be ASCII: json.dumps
    writes what backslashes stand for in JSON, where `replace_unshowable` may write what JSON lacks.
    """
    return (getattr(sys.stdout, "encoding", None) or "").lower().startswith("utf")
