"""Question answering: exact match and character F1 of a pipeline, or of no learning at all.

    python -m tests.benchmarks.reading dev.spacy --model training/model-best
    python -m tests.benchmarks.reading dev.spacy --train train.spacy

Without a model the answers are lexical: of the sentence that has most of the question's characters,
two by two and weighted by how rare they are in the training texts, the run of nouns nearest to
them that isn't in the question; a question for a number or a time wants a digit in it. That is the
sliding window of Richardson et al. 2013 (MCTest), with Japanese words in place of English ones.
"""

import math
import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import spacy
import typer
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from spacy_jbert.evaluation.questions import Answer, Answered, questions_of, set_answers
from spacy_jbert.evaluation.reading import character_f1, exact_match, matched, right_texts, score_qa

_NUMBER = re.compile("何(?!者|処|故)|いつ|いくつ|いくら|どれくらい|どのくらい")
_DIGIT = re.compile(r"[0-9０-９一二三四五六七八九十百千]")
_SENTENCE = re.compile(r"[^。！？\n]+[。！？\n]*")
_NOUNS = {"NOUN", "PROPN", "NUM", "SYM"}


def bigrams(text: str) -> Counter[str]:
    return Counter("".join(pair) for pair in pairwise(text))


class Lexical:
    """Answers by words in common.

    texts (Iterable[str]): What says how rare characters are.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        seen: Counter[str] = Counter()
        self.n_texts = 0
        for text in texts:
            seen.update(set(bigrams(text)))
            self.n_texts += 1
        self.seen = seen

    def weight(self, pair: str) -> float:
        return math.log((self.n_texts + 1) / (self.seen[pair] + 1))

    def answer(self, doc: Doc, question: str) -> Answer | None:
        asked = bigrams(question)
        best: tuple[float, Answer] | None = None
        for found in _SENTENCE.finditer(doc.text):
            sentence = found[0]
            common = [i for i, pair in enumerate(pairwise(sentence)) if "".join(pair) in asked]
            overlap = sum(self.weight(sentence[i : i + 2]) for i in common)
            for start, end in _runs(doc, found.start(), found.end()):
                text = doc.text[start:end]
                if text in question:
                    continue
                near = min((abs(i + found.start() - start) for i in common), default=99)
                fits = bool(_DIGIT.search(text)) if _NUMBER.search(question) else True
                score = overlap - 0.1 * near + 5.0 * fits
                if best is None or score > best[0]:
                    best = score, Answer(text, start, end, 0.0)
        return None if best is None else best[1]


def _runs(doc: Doc, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Runs of nouns within a stretch, in characters."""
    tokens = [token for token in doc if start <= token.idx < end]
    for nouns, run in groupby(tokens, key=lambda token: token.pos_ in _NOUNS):
        if nouns:
            of_run = list(run)
            yield of_run[0].idx, of_run[-1].idx + len(of_run[-1])


def interval(values: np.ndarray) -> str:
    """The mean of documents' questions, and what holds 95 of 100 draws."""
    generator = np.random.default_rng(0)
    draws = generator.choice(values, (1000, len(values))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{100 * values.mean():.1f} ({100 * low:.1f}–{100 * high:.1f})"


def main(
    data: Annotated[Path, typer.Argument(help="What `jbert convert --task qa` wrote")],
    model: Annotated[Path | None, typer.Option(help="A pipeline with jbert_qa")] = None,
    train: Annotated[Path | None, typer.Option(help="For the lexical answers")] = None,
    limit: Annotated[int, typer.Option(help="So many texts, drawn by seed 0; 0 for all")] = 0,
) -> None:
    nlp: Language = spacy.load(model) if model else _tagger()
    docs = list(DocBin().from_disk(data).get_docs(nlp.vocab))
    random.Random(0).shuffle(docs)
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in docs[: limit or None]]
    began, cpu = time.time(), time.process_time()
    if model:
        scores = nlp.get_pipe(_name(nlp)).score(examples)
    else:
        assert train is not None, "--train FILE"
        texts = (doc.text for doc in DocBin().from_disk(train).get_docs(nlp.vocab))
        lexical = Lexical(texts)
        for eg in examples:
            found = []
            for question in questions_of(eg.reference):
                answer = lexical.answer(eg.predicted, question.question)
                given = [] if answer is None else [answer]
                found.append(Answered(question.id, question.question, given, 0.0))
            set_answers(eg.predicted, found)
        scores = score_qa(examples)
    rows = [
        (eg.reference.text, question, answered.answers[0].text if answered.answers else "")
        for eg in examples
        for question, answered in matched(eg)
    ]
    for name, measure in (("EM", exact_match), ("F1", character_f1)):
        values = np.array([measure(said, right_texts(text, of)) for text, of, said in rows])
        print(f"{name} {interval(values)}")
    print({name: value for name, value in scores.items() if value is not None})
    print(
        f"{len(rows)} questions, {time.time() - began:.0f} s, {time.process_time() - cpu:.0f} of CPU"
    )


def _name(nlp: Language) -> str:
    return next(name for name in nlp.pipe_names if nlp.get_pipe_meta(name).factory == "jbert_qa")


def _tagger() -> Language:
    tokenizer = {"@tokenizers": "spacy-jbert.SudachiTokenizer.v1", "attributes": "all"}
    return spacy.blank("ja", config={"nlp": {"tokenizer": tokenizer}})


if __name__ == "__main__":
    typer.run(main)
