"""The first hour from the wheel: tests/hour.py."""

from pathlib import Path

import pytest

from . import hour


@pytest.mark.slow
def test_from_the_data_to_a_wheel(tmp_path: Path) -> None:
    minutes = hour.play(tmp_path, steps=4, shapes=list(hour.SHAPES))
    assert set(minutes) == set(hour.SHAPES)
