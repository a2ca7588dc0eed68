"""The whole lines of a file that grows, is rotated and truncated, or of a pipe; and where one has
got to, so that another process goes on there.

A line ends with a newline: what is half written waits. What is beyond repair is one line all the
same (`Line.content` is None), so that the numbers are those an editor shows.
"""

import glob
import hashlib
import logging
import os
import re
import select
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..errors import DataError, Errors, Warnings

logger = logging.getLogger(__name__)

LONGEST_LINE = 1 << 20
"""Bytes that a line may have, for one without end not to fill the memory."""
_HEAD = 512
_PIECE = 1 << 16
_ROTATED = re.compile(r"[.-]\d+(?:[-_T.]\d+)*")
"""What follows the name: .1, -20261127, -2026-11-27, -20261127-1500, .20261127T15."""


class Line(NamedTuple):
    """number (int): From 1 in its file. content (bytes | None): Without the newline; None if there
    are too many."""

    number: int
    content: bytes | None


@dataclass
class Position:
    """How far a file was read: behind a whole line.

    inode (int): The file, which a rotation renames.
    head (str), head_size (int): SHA-256 of its first bytes, as an inode may be another file's, and
        a file can be truncated and have grown again.
    offset, line (int): Bytes and lines done.
    time (int): When it had been written to, in nanoseconds: what was rotated later is newer. 0 if
        that isn't known.
    """

    inode: int
    head: str
    head_size: int
    offset: int = 0
    line: int = 0
    time: int = 0


class Tail:
    """Follows a file by its name.

    path (Path): It needn't be there yet.
    position (dict | None): Where to go on, as `position` was.
    """

    def __init__(self, path: Path, position: dict[str, Any] | None = None) -> None:
        self.path = path
        self.ended = False
        self._file: BinaryIO | None = None
        self._at = Position(0, "", 0)
        if position is not None:
            self._go_on(Position(**position))

    @property
    def position(self) -> dict[str, Any] | None:
        """RETURNS (dict | None): For JSON; None before there is a file."""
        return asdict(self._at) if self._file is not None else None

    def read(self, most: int, wait: float = 0.0) -> list[Line]:
        """Read lines that are whole.

        most (int): So many at most.
        wait (float): Seconds to wait where there is none.
        RETURNS (list[Line]): None of them: nothing new. All are of one file.
        """
        lines = self._read(most) if self._is_open() else []
        if not lines and self._moves_on():
            lines = self._read(most)
        if not lines and wait:
            select.select([], [], [], wait)
        return lines

    def at_end(self) -> bool:
        """Whether what is there is read but for a line that isn't whole."""
        return not self._is_open() or not self._next_file()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _is_open(self) -> bool:
        return self._file is not None or self._open(self.path)

    def _read(self, most: int) -> list[Line]:
        assert self._file is not None
        if self._is_rewritten():
            logger.warning(Warnings.JW561.format(path=self.path, line=self._at.line))
            self._begin(self._file)
        lines: list[Line] = []
        while len(lines) < most:
            piece = self._file.readline(LONGEST_LINE + 1)
            if len(piece) > LONGEST_LINE and not piece.endswith(b"\n"):
                found = self._skip(piece)
            elif not piece.endswith(b"\n"):
                found = None
            else:
                found = Line(self._at.line + 1, piece.rstrip(b"\r\n"))
                self._advance(len(piece))
            if found is None:
                self._file.seek(self._at.offset)
                break
            lines.append(found)
        self._remember_head()
        self._at.time = os.fstat(self._file.fileno()).st_mtime_ns
        return lines

    def _skip(self, piece: bytes) -> Line | None:
        """Read to the end of a line that is too long, however long that takes: it is done once its
        newline is there."""
        assert self._file is not None
        passed = len(piece)
        while piece and not piece.endswith(b"\n"):
            piece = self._file.readline(_PIECE)
            passed += len(piece)
        if not piece:
            return None
        line = Line(self._at.line + 1, None)
        self._advance(passed)
        return line

    def _advance(self, size: int) -> None:
        self._at.offset += size
        self._at.line += 1

    def _open(self, path: Path) -> bool:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return False
        except OSError as error:
            message = Errors.J261.format(path=path, done="read", reason=error.strerror)
            raise DataError(message) from error
        self.close()
        self._file = file
        self._begin(file)
        return True

    def _begin(self, file: BinaryIO) -> None:
        there = os.fstat(file.fileno())
        self._at = Position(there.st_ino, "", 0, time=there.st_mtime_ns)
        file.seek(0)

    def _remember_head(self) -> None:
        """The first bytes, as far as they are read and won't change."""
        size = min(self._at.offset, _HEAD)
        if self._file is not None and size > self._at.head_size:
            self._at.head_size, self._at.head = size, _head(self._file, size)
            self._file.seek(self._at.offset)

    def _is_rewritten(self) -> bool:
        assert self._file is not None
        shorter = os.fstat(self._file.fileno()).st_size < self._at.offset
        return shorter or _head(self._file, self._at.head_size) != self._at.head

    def _moves_on(self) -> bool:
        """Open the file that came after this one, if this one was rotated away."""
        path = self._next_file()
        if path is None or self._file is None:
            return False
        # What came in before the name was another's.
        self._file.seek(self._at.offset)
        if rest := self._file.read(LONGEST_LINE):
            if b"\n" in rest:
                self._file.seek(self._at.offset)
                return True
            logger.warning(Warnings.JW562.format(path=path, line=self._at.line + 1))
        return self._open(path)

    def _next_file(self) -> Path | None:
        """The file to read after this one: those that were rotated later, then that of the name."""
        if self._file is None:
            return self.path if self.path.exists() else None
        own = os.fstat(self._file.fileno())
        with suppress(FileNotFoundError):
            named = self.path.stat()
            if (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino):
                return None
            later = self._later(own.st_mtime_ns, but=own.st_ino)
            return later[0] if later else self.path
        return None

    def _alike(self) -> Iterator[tuple[os.stat_result, Path]]:
        """The files whose names begin with this one's."""
        for path in self.path.parent.glob(f"{glob.escape(self.path.name)}*"):
            with suppress(OSError):  # gone meanwhile
                there = path.stat()
                if stat.S_ISREG(there.st_mode):
                    yield there, path

    def _later(self, time: int, but: int | None = None) -> list[Path]:
        """What was rotated away and written to after a time, the first one first. but (int): An
        inode that is none of these, although somebody may be writing to it now."""
        later = [
            (there.st_mtime_ns, path)
            for there, path in self._alike()
            if _ROTATED.fullmatch(path.name, len(self.path.name))
            and there.st_mtime_ns > time
            and there.st_ino != but
        ]
        return [path for _, path in sorted(later)]

    def _go_on(self, position: Position) -> None:
        """Open the file that was read last, wherever it is now; or else what came after it."""
        # Whatever a rotation calls it, the inode and the first bytes tell that it is the same.
        for there, path in self._alike():
            if there.st_ino == position.inode and self._resume(path, position):
                return
        # Truncated, or removed after it was rotated: then later ones may be left.
        later = self._later(position.time) if position.time else []
        # A copy that was made before the truncation goes on where the file was.
        if later and self._resume(later[0], position):
            return
        self.close()
        logger.warning(Warnings.JW561.format(path=self.path, line=position.line))
        if later:
            self._open(later[0])

    def _resume(self, path: Path, position: Position) -> bool:
        """RETURNS (bool): Whether a file begins as that of the position did, and is open there."""
        if not self._open(path):
            return False
        assert self._file is not None
        self._at = replace(position, inode=self._at.inode)
        if self._is_rewritten():
            return False
        self._file.seek(position.offset)
        return True


class Pipe:
    """Lines of a pipe, such as standard input, as they come.

    descriptor (int): Of the open pipe.
    done (int): So many lines at its beginning are done, and left out.
    """

    def __init__(self, descriptor: int, done: int = 0) -> None:
        self.ended = False
        self._descriptor = descriptor
        self._done = done
        self._line = 0
        self._buffer = b""
        self._too_long = False

    @property
    def position(self) -> dict[str, Any]:
        """RETURNS (dict): The lines done, for JSON."""
        return {"line": max(self._line, self._done)}

    def read(self, most: int, wait: float = 0.0) -> list[Line]:
        """Read lines that are whole; at the end of the pipe also what is left. See `Tail.read`."""
        lines: list[Line] = []
        while len(lines) < most:
            if (line := self._cut()) is not None:
                if line.number > self._done:
                    lines.append(line)
            elif self.ended or not self._more(0.0 if lines else wait):
                break
        return lines

    def at_end(self) -> bool:
        """Whether nothing comes any more."""
        return self.ended and not self._buffer

    def _cut(self) -> Line | None:
        content, newline, rest = self._buffer.partition(b"\n")
        if not newline and not (self.ended and content):
            if len(content) > LONGEST_LINE:
                self._buffer, self._too_long = b"x", True
            return None
        self._buffer = rest
        too_long = self._too_long or len(content) > LONGEST_LINE
        self._too_long = False
        self._line += 1
        return Line(self._line, None if too_long else content.rstrip(b"\r"))

    def _more(self, wait: float) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], wait)
        if not ready:
            return False
        piece = os.read(self._descriptor, _PIECE)
        self.ended = not piece
        self._buffer += piece
        return True


def _head(file: BinaryIO, size: int) -> str:
    place = file.tell()
    file.seek(0)
    head = hashlib.sha256(file.read(size)).hexdigest() if size else ""
    file.seek(place)
    return head
