"""The first hour from the wheel: tests/hour.py."""

from pathlib import Path

import pytest

from . import hour


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hour.installed(tmp_path_factory.mktemp("environment"))


@pytest.mark.slow
# Each takes a minute; `python -m tests.hour` plays all five.
@pytest.mark.parametrize("name", ["bio", "textcat"])
def test_from_the_data_to_a_wheel(python: Path, tmp_path: Path, name: str) -> None:
    assert hour.play(python, tmp_path, name, steps=4) > 0
