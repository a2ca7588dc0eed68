"""What every request passes: its id, the key, the limits of its body, the log, the headers.

Plain ASGI: whatever is refused here costs nothing else."""

import asyncio
import hmac
import json
import logging
import re
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import Errors
from .limits import Limits
from .metrics import Metrics
from .pipelines import told
from .refusals import Refusal, failed

logger = logging.getLogger(__name__)
access = logging.getLogger("spacy_jbert.access")

# What a client may call its own request, so that it can't write into the log.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# Without the key: for those who watch whether the service is there, and pages without data.
_OPEN = re.compile(r"/|/health|/ready|/docs|/openapi\.json|/page/.*|/swagger/.*")
_CSP = (
    "default-src 'none'; script-src 'self'; style-src {styles}; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _CSP.format(styles="'self'"),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# Swagger UI styles its elements by attributes.
_DOCS = {"Content-Security-Policy": _CSP.format(styles="'self' 'unsafe-inline'")}


class Gate:
    """Middleware in front of the service's routes.

    app (ASGIApp): What answers.
    limits (Limits): Of the body and of requests at a time.
    metrics (Metrics): Told of every answer.
    key (bytes | None): What clients must send; None if they needn't.
    """

    def __init__(
        self, app: ASGIApp, *, limits: Limits, metrics: Metrics, key: bytes | None
    ) -> None:
        self.app = app
        self.limits = limits
        self.metrics = metrics
        self.key = key
        self._busy = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = dict(scope["headers"])
        seen: dict[str, Any] = {"id": _request_id(headers), "status": 499}
        scope["jbert"] = seen

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                message["headers"] = [*message["headers"], *_headers(_path(scope), seen["id"])]
            await send(message)

        try:
            await self._let_in(scope, headers, receive, answer)
        finally:
            self._note(scope, seen, time.perf_counter() - began)

    async def _let_in(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        seen = scope["jbert"]
        try:
            self._check_key(_path(scope), headers)
            if scope["method"] in ("GET", "HEAD"):
                await self.app(scope, receive, send)
                return
            if self._busy >= self.limits.requests:
                raise Refusal(503, Errors.J446, retry=1)
            self._busy += 1
            try:
                body = await self._body(headers, receive)
                await self.app(scope, _once(body, receive), send)
            finally:
                self._busy -= 1
        except _Gone:
            return
        except Refusal as refusal:
            await _refuse(refusal, seen, scope, receive, send)
        except Exception as error:
            logger.error("request %s: %s", seen["id"], told(error))
            if seen["status"] == 499:
                await _refuse(failed(), seen, scope, receive, send)

    def _check_key(self, path: str, headers: dict[bytes, bytes]) -> None:
        """RAISES: Refusal J448."""
        if self.key is None or _OPEN.fullmatch(path):
            return
        given = headers.get(b"x-api-key") or headers.get(b"authorization", b"").removeprefix(
            b"Bearer "
        )
        if not hmac.compare_digest(given, self.key):
            raise Refusal(401, Errors.J448)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """RAISES: Refusal J440 for too many bytes, J445 if they take too long; _Gone."""
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self.limits.body:
            raise Refusal(413, Errors.J440.format(most=self.limits.body))
        parts: list[bytes] = []
        more = True
        try:
            async with asyncio.timeout(self.limits.seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    parts.append(message.get("body", b""))
                    if sum(map(len, parts)) > self.limits.body:
                        raise Refusal(413, Errors.J440.format(most=self.limits.body))
                    more = message.get("more_body", False)
        except TimeoutError:
            raise Refusal(408, Errors.J445.format(seconds=self.limits.seconds)) from None
        return b"".join(parts)

    def _note(self, scope: Scope, seen: dict[str, Any], seconds: float) -> None:
        # The address as it came could hold anything, a text too.
        route = getattr(scope.get("route"), "path", "-")
        status = seen["status"]
        self.metrics.requests.labels(route, seen.get("model", ""), str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": seen["id"],
            "method": scope["method"],
            "route": route,
            "status": status,
            "ms": round(1000 * seconds, 1),
        }
        entry |= {name: seen[name] for name in ("model", "texts", "characters") if name in seen}
        access.info(json.dumps(entry, ensure_ascii=False))


class _Gone(Exception):
    """The client hung up before it had said what it wants."""


def _path(scope: Scope) -> str:
    """RETURNS (str): An address without what a server or proxy mounts the service under."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _request_id(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _headers(path: str, request_id: str) -> list[tuple[bytes, bytes]]:
    named = _HEADERS | (_DOCS if path == "/docs" else {}) | {"X-Request-ID": request_id}
    return [(name.lower().encode(), value.encode()) for name, value in named.items()]


def _once(body: bytes, receive: Receive) -> Receive:
    """The body in one message; whoever asks again waits until the client hangs up."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


async def _refuse(
    refusal: Refusal, seen: dict[str, Any], scope: Scope, receive: Receive, send: Send
) -> None:
    headers = refusal.headers
    # What is left of the body isn't read: no other request may follow on this connection.
    if refusal.status in (401, 408, 413, 503):
        headers = headers | {"Connection": "close"}
    response = JSONResponse(refusal.body(seen["id"]), refusal.status, headers)
    await response(scope, receive, send)
