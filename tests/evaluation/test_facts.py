"""What a training has logged."""

import json
from pathlib import Path

import pytest

from spacy_jbert.evaluation.facts import learning_curve
from spacy_jbert.evaluation.page import _Charts

ODD = [
    '{"step": 1, "score": null}',
    '{"step": "a", "score": 1}',
    '{"step": 1, "score": "0.5"}',
    '{"step": null, "score": 0.5}',
    '{"step": 1, "score": NaN}',
    '{"step": 1, "score": Infinity}',
    '{"step": 1, "score": true}',
    '{"step": 1, "score": [0.5]}',
    '{"step": 1' + "0" * 400 + ', "score": 0.5}',
    '{"step": 1}',
    "[1, 2]",
    "3",
]
BROKEN = ['{"st', "", "[" * 100_000]


@pytest.mark.parametrize(
    ("odd", "whole"),
    [(odd, whole) for odd in ODD for whole in (False, True)] + [(odd, False) for odd in BROKEN],
)
def test_what_is_no_number_is_left_out(odd: str, whole: bool, tmp_path: Path) -> None:
    good = ['{"step": 0, "score": 0.25}', '{"step": 200, "score": 1}']
    file = tmp_path / "log.jsonl"
    if whole:  # as RecordLogger writes it
        file.write_text(f'{{"evaluations": [{good[0]}, {odd}, {good[1]}]}}', encoding="utf-8")
    else:
        file.write_text("\n".join([good[0], odd, good[1]]), encoding="utf-8")
    curve = learning_curve(file)
    assert curve == [json.loads(line) for line in good]

    class Outcome:
        training = curve

    assert "<svg" in _Charts().training("curve", Outcome())  # type: ignore[arg-type]


def test_nothing_that_can_be_drawn_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text("\n".join(ODD + BROKEN), encoding="utf-8")
    assert learning_curve(file) == []
    assert "JW413" in caplog.text
