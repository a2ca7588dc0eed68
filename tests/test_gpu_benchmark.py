"""The benchmark for whoever has a card runs from end to end, on a CPU with tiny sizes."""

from pathlib import Path

import pytest

from .benchmarks import gpu


@pytest.mark.slow
def test_every_part_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = gpu.main(tmp_path, gpu.SMALL)
    assert [row["what"] for row in rows] == [what for what, _ in gpu.parts(gpu.SMALL)]
    assert all(row["rate"] > 0 for row in rows)
    monkeypatch.setattr(gpu, "pipeline", None)  # nothing is measured twice
    assert gpu.main(tmp_path, gpu.SMALL) == rows


def test_without_cupy_stock_parts_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "device", lambda: "cuda")
    monkeypatch.setattr(gpu, "has_cupy", True)
    with_cupy = [what for what, _ in gpu.parts(gpu.FULL)]
    monkeypatch.setattr(gpu, "has_cupy", False)
    without = [what for what, _ in gpu.parts(gpu.FULL)]
    assert without == [what for what in with_cupy if "spacy-transformers" not in what]
    assert len(set(with_cupy)) == len(with_cupy) > len(without)
