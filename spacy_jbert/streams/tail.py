"""The whole lines of a file that grows, is rotated and truncated, or of a pipe; and where one has
got to, so that another process goes on there.

A line ends with a newline: what is half written waits. What is beyond repair is one line all the
same (`Line.content` is None), so that the numbers are those an editor shows.
"""

import hashlib
import logging
import os
import re
import select
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..errors import DataError, Errors, Warnings

logger = logging.getLogger(__name__)

LONGEST_LINE = 1 << 20
"""Bytes that a line may have, for one without end not to fill the memory."""
_HEAD = 512
_PIECE = 1 << 16


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
    """

    inode: int
    head: str
    head_size: int
    offset: int = 0
    line: int = 0


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
        self._at = Position(os.fstat(file.fileno()).st_ino, "", 0)
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
            later = [
                (path.stat().st_mtime_ns, path)
                for path in self._rotated()
                if path.stat().st_mtime_ns > own.st_mtime_ns
            ]
            return min(later)[1] if later else self.path
        return None

    def _rotated(self) -> Iterator[Path]:
        """What logrotate and others call the files of before: news.jsonl.1, news.jsonl-20261127."""
        name = re.compile(re.escape(self.path.name) + r"[.-]\d+")
        for path in self.path.parent.glob(f"{self.path.name}*"):
            if name.fullmatch(path.name):
                yield path

    def _go_on(self, position: Position) -> None:
        """Open the file that was read last, wherever it is now."""
        for path in (self.path, *self._rotated()):
            if not path.exists() or not self._open(path):
                continue
            assert self._file is not None
            same = self._at.inode == position.inode
            if same:
                self._at = position
                if not self._is_rewritten():
                    self._file.seek(position.offset)
                    return
        self.close()
        # Truncated, or removed after it was rotated.
        logger.warning(Warnings.JW561.format(path=self.path, line=position.line))


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
