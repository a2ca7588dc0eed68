import io
import sys
import time

import pytest

from spacy_jbert.pretraining import progress as module
from spacy_jbert.pretraining.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_file_gets_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.2)
    with progress("Counting", total=100, unit=" words") as bar:
        for _ in range(100):
            bar.update()
            time.sleep(0.005)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Counting:   0%|")
    assert lines[-1].startswith("Counting: 100%|")
    assert 3 <= len(lines) < 50
    assert not any("\r" in line for line in lines)


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress("Counting", total=2, file=sys.stderr, mininterval=0) as bar:
        bar.update(2)
    assert sys.stderr.getvalue().count("\r") > 1  # type: ignore[attr-defined]
