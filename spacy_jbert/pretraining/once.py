"""Work that is done once:

found again by what it was made of, and done by one process for all of them under torchrun.
"""

import json
import logging
import os
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

_ASK_AGAIN = 0.5  # seconds


def fingerprint(*parts: Any) -> str:
    """RETURNS (str): The same for the same values (JSON), on any machine."""
    return blake2b(
        json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str).encode(), digest_size=10
    ).hexdigest()


def file_fingerprint(path: Path) -> str:
    """RETURNS (str): The same for the same content."""
    digest = blake2b(digest_size=20)
    with path.open("rb") as file:
        while block := file.read(2**22):
            digest.update(block)
    return digest.hexdigest()


def first_rank(result: Path, make: Callable[[], None]) -> bool:
    """Have the first process make a file; the others wait until it is there.

    A barrier won't do: it gives up after ten minutes (NCCL), and a large corpus takes hours. If the
    first process fails, torchrun ends the others. On several machines the file has to be on a file
    system that all of them see.

    result (Path): The file, which appears when it is complete.
    make (Callable[[], None]): Makes it; isn't called where the file is there already.
    RETURNS (bool): Whether it had to be made.
    """
    if result.is_file():
        return False
    if int(os.environ.get("RANK", "0")) == 0:
        make()
        return True
    logger.info("Waiting for the first process to write %s", result)
    while not result.is_file():
        time.sleep(_ASK_AGAIN)
    return True
