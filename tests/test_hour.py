"""The first hour from the wheel: tests/hour.py."""

from pathlib import Path

import pytest

from . import hour


@pytest.mark.slow
# Each takes a minute; `python -m tests.hour` plays all five.
@pytest.mark.parametrize("name", ["bio", "textcat"])
def test_from_the_data_to_a_wheel(wheel_python: Path, tmp_path: Path, name: str) -> None:
    assert hour.play(wheel_python, tmp_path, name, steps=4) > 0
