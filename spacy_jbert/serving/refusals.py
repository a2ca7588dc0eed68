"""What the service answers when it doesn't do what was asked: one shape, whatever the reason."""

from pydantic import BaseModel

from ..errors import Errors


class ErrorDetail(BaseModel):
    """Why a request, or one text of it, has no answer."""

    code: str
    message: str
    request_id: str


class ErrorAnswer(BaseModel):
    """The body of every answer with a status of 400 or more."""

    error: ErrorDetail


class Refusal(Exception):
    """A request that gets no answer but a reason.

    status (int): Of HTTP.
    message (str): Of `Errors`, formatted: its code stands in front.
    retry (int | None): Seconds after which it is worth while to ask again.
    """

    def __init__(self, status: int, message: str, *, retry: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry = retry

    @property
    def headers(self) -> dict[str, str]:
        """RETURNS (dict[str, str]): Of the answer, beside those that all have."""
        headers = {} if self.retry is None else {"Retry-After": str(self.retry)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})

    def detail(self, request_id: str) -> dict[str, str]:
        """RETURNS (dict[str, str]): An `ErrorDetail`."""
        code, _, message = self.message.partition("] ")
        return {"code": code.removeprefix("["), "message": message, "request_id": request_id}

    def body(self, request_id: str) -> dict[str, dict[str, str]]:
        """RETURNS (dict): An `ErrorAnswer`."""
        return {"error": self.detail(request_id)}


def failed() -> Refusal:
    """RETURNS (Refusal): For what is nobody's fault but ours; why it was stands in the log."""
    return Refusal(500, Errors.J449)
