"""What is told, and that it was: a state that is whole at any time, lines of JSON that appear once,
and a webhook that is asked until it answers.

Lines appear exactly once: they are put into the state with the size of the file (`Outbox`), which
is saved before any of them is written. Whoever comes after a kill completes them from there; what
had been written of them isn't written again. A webhook's receiver may be told twice, when the kill
comes between its answer and the saving of the state: it drops doubles by the alert's id.
"""

import http.client
import ipaddress
import json
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from ..errors import DataError, Errors, Warnings
from ..storage import replacing

logger = logging.getLogger(__name__)

_PATIENCE = (1.0, 300.0)
# What browsers leave as it is in paths and queries; % is, as what it begins is encoded already.
_PLAIN = "!$%&'()*+,/:;=?@[\\]|"


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state so that the file is the old one or the new one, also after a power failure."""
    with replacing(path) as [part], part.open("w", encoding="utf-8") as file:
        json.dump(state, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load_state(path: Path, names: Iterable[str]) -> dict[str, Any] | None:
    """RETURNS (dict | None): The state; None if there is none yet.
    RAISES: DataError J570 for what isn't one with these names.
    """
    if not path.exists():
        return None
    try:
        state = json.loads(path.read_bytes())
        missing = [name for name in names if name not in state]
    except (ValueError, TypeError) as error:
        raise DataError(Errors.J570.format(reason=error), path=path) from None
    if missing or not isinstance(state, dict):
        raise DataError(Errors.J570.format(reason=f"no {', '.join(missing)}"), path=path)
    return state


class Outbox(NamedTuple):
    """Lines to append to a file that has `offset` bytes before them."""

    offset: int
    text: str

    @classmethod
    def of(cls, path: Path, records: Iterable[dict[str, Any]]) -> "Outbox":
        """RETURNS (Outbox): Records as JSON for a file as it is now."""
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        return cls(path.stat().st_size if path.exists() else 0, "".join(lines))

    def deliver(self, path: Path) -> None:
        """Append what isn't there yet. RAISES: DataError J571 for a file that is shorter than it
        was, or has something else there."""
        if not self.text:
            return
        content = self.text.encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            file.seek(self.offset)
            there = file.read(len(content) + 1)
            size = os.fstat(file.fileno()).st_size
            if size < self.offset or not content.startswith(there):
                raise DataError(Errors.J571.format(offset=self.offset), path=path)
            file.write(content[len(there) :])
            file.flush()
            os.fsync(file.fileno())


class Webhook:
    """Sends records to an address by POST, as JSON; what isn't answered by 2xx is sent again, at
    growing distances. No proxy is asked and no redirection followed, so that nothing leaves for
    another host.

    url (str): http or https.
    anywhere (bool): Take any host, and not only this machine.
    timeout (float): Seconds to wait for an answer.
    RAISES: ValueError J572 for another host or something that is no address, or can't be asked.
    """

    def __init__(self, url: str, *, anywhere: bool = False, timeout: float = 5.0) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
            # What no name of a host can be ends a later request with an error of its own.
            host.encode("idna")
            http.client.HTTPConnection(host, 80)
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            self._path = quote(path, safe=_PLAIN)
        except (ValueError, http.client.InvalidURL) as error:
            raise ValueError(Errors.J572.format(url=url, reason=error)) from None
        if parts.scheme not in ("http", "https") or not host or port == 0:
            raise ValueError(Errors.J572.format(url=url, reason="it is no http or https address"))
        if not anywhere and not is_loopback(host):
            raise ValueError(Errors.J572.format(url=url, reason="it isn't on this machine"))
        self._https = parts.scheme == "https"
        # Without a port http.client would take the end of an IPv6 address for one.
        self._host, self._port = host, port or (443 if self._https else 80)
        self._timeout = timeout
        self._pause, self._not_before = _PATIENCE[0], 0.0

    def deliver(self, waiting: list[dict[str, Any]], *, now: bool = False) -> None:
        """Send records in their order, and take those that were answered out of the list.

        waiting (list[dict]): Each with an id.
        now (bool): Also where the last try failed a moment ago.
        """
        if not now and time.monotonic() < self._not_before:
            return
        while waiting:
            try:
                self._post(waiting[0])
            except (OSError, http.client.HTTPException) as error:
                self._not_before = time.monotonic() + self._pause
                message = Warnings.JW563.format(count=len(waiting), reason=error)
                logger.warning(message)
                self._pause = min(2 * self._pause, _PATIENCE[1])
                return
            del waiting[0]
            self._pause = _PATIENCE[0]

    def _post(self, record: dict[str, Any]) -> None:
        kind = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout)
        try:
            body = json.dumps(record, ensure_ascii=False).encode()
            headers = {"Content-Type": "application/json", "Idempotency-Key": key_of(record["id"])}
            connection.request("POST", self._path, body, headers)
            answer = connection.getresponse()
            answer.read()
            if not 200 <= answer.status < 300:
                raise http.client.HTTPException(f"{answer.status} {answer.reason}")
        finally:
            connection.close()


def key_of(id: str) -> str:
    """RETURNS (str): An id as a header can hold it: as it is if it is printable ASCII, else
    percent-encoded UTF-8."""
    plain = id.isascii() and id.isprintable() and id == id.strip()
    return id if plain else quote(id, safe="+:")


def is_loopback(host: str) -> bool:
    """RETURNS (bool): Whether a host is this machine: localhost, 127.0.0.0/8 or ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
