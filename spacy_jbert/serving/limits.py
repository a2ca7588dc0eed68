"""What one service may be asked for, and how much it takes at once."""

from dataclasses import dataclass


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

    batch_size: int = 32
    batch_wait: float = 0.002
    queue: int = 1024
    requests: int = 256
    body: int = 1_000_000
    text: int = 20_000
    texts: int = 256
    seconds: float = 30.0
