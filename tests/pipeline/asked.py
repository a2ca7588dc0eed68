"""Texts with questions, and a tiny pipeline that learns to answer them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.training import Example
from thinc.api import Adam, fix_random_seed

ASKED = [
    ("田中さんは昨日、東京で新しい図書館を見学しました。", "どこで見学しましたか。", "東京"),
    ("鈴木先生が来週京都へ出張すると聞いて驚いた。", "誰が出張しますか。", "鈴木先生"),
    ("私の友人は札幌市で小さなパン屋を開いた。", "何を開きましたか。", "パン屋"),
    ("彼女は毎朝六時に起きて、犬と公園を散歩する。", "何時に起きますか。", "六時"),
    ("国会は予算案を賛成多数で可決した。", "何を可決しましたか。", "予算案"),
    ("この映画はとても面白かったので、もう一度見たい。", "いくらですか。", None),
]
SETTINGS: dict[str, Any] = {"window": 64, "max_question": 16, "overlap": 16, "max_answer": 8}


def asked(nlp: Language, text: str, question: str, answer: str | None) -> Example:
    doc = nlp.make_doc(text)
    answers = [] if answer is None else [[text.index(answer), text.index(answer) + len(answer)]]
    doc._.jbert_questions = [{"id": "1", "question": question, "answers": answers}]
    return Example(nlp.make_doc(text), doc)


def examples(nlp: Language) -> list[Example]:
    return [asked(nlp, *each) for each in ASKED]


def make(
    folder: Path, get: Callable = examples, negatives: float = 0.0, **settings: Any
) -> Language:
    fix_random_seed(0)
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    nlp.add_pipe(
        "jbert_qa", name="qa", config={"model": SETTINGS | settings, "negatives": negatives}
    )
    loader = {"@misc": "spacy-jbert.HFEncoder.v1", "name": str(folder), "hidden_dropout": 0.0}
    nlp.config["initialize"]["components"]["qa"] = {"encoder": loader}
    nlp.initialize(lambda: get(nlp))
    return nlp


def train(nlp: Language, data: list[Example], steps: int, rate: float = 5e-3) -> list[float]:
    optimizer = Adam(rate, L2=0.0, grad_clip=1.0)
    return [nlp.update(data, sgd=optimizer)["qa"] for _ in range(steps)]
