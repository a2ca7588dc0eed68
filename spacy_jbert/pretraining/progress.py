"""Progress bars on a terminal; where there is none, as in a server's log file, a line every half
minute.
"""

import sys
from typing import Any

from tqdm import tqdm

_SECONDS = 30


class _Lines:
    """A file for tqdm: each state of the bar is a line of its own on stderr."""

    def write(self, text: str) -> None:
        if text := text.strip("\r\n "):
            print(text, file=sys.stderr, flush=True)

    def flush(self) -> None:
        pass


def progress(desc: str, **settings: Any) -> tqdm:
    """RETURNS (tqdm): A bar; `settings` are tqdm's own."""
    if not sys.stderr.isatty():
        settings |= {"file": _Lines(), "mininterval": _SECONDS, "miniters": 1, "ascii": True}
    return tqdm(desc=desc, **settings)
