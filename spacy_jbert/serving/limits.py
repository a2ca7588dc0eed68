"""What one service may be asked for, and how much it takes at once."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

# Checked where pydantic reads them, from a file of Ray Serve's.
_Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Limits:
    """Settings of a service. Each limit has its status code.

    batch_size (int): The most texts that a pipeline gets at once.
    batch_wait (float): Seconds that the first text of a batch waits for others.
    queue (int): Texts that wait for one pipeline; more are refused (429).
    requests (int): Requests with a body at a time; more are refused (503).
    body (int): Bytes of a request (413).
    text (int): Characters of a text (422).
    texts (int): Texts of a request (422).
    seconds (float): From the request to its answer (504), and for its body to arrive (408).
    """

    batch_size: _Count = 32
    batch_wait: Annotated[float, Field(ge=0)] = 0.002
    queue: _Count = 1024
    requests: _Count = 256
    body: _Count = 1_000_000
    text: _Count = 20_000
    texts: _Count = 256
    seconds: Annotated[float, Field(gt=0)] = 30.0
