"""How good search and summaries are on real text.

    python -m tests.benchmarks.retrieval pairs OUT.jsonl        # clicks for configs/pairs.cfg
    python -m tests.benchmarks.retrieval faq MODEL …            # queries of hotel guests to topics
    python -m tests.benchmarks.retrieval summary MODEL          # Wikipedia's bodies to their leads

FAQ search: of each of ASDC's 46 topics (L2) some queries of the training part are the index; a
query of the test part is answered if the first hit is of its topic. `pairs` takes other queries of
the training part for clicks, each on a text of the index.

Summaries: of articles on Kyoto, whose lead stands for what a person would write; the sentences of
the body are chosen from. ROUGE (Lin 2004) by characters.
"""

import json
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import spacy
import typer

from spacy_jbert.corpora.lines import read_lines
from spacy_jbert.pipeline.summary import choose
from spacy_jbert.search.index import By, Entry, Hit, Index

from .measure import SHARED

ASDC = SHARED / "corpora" / "asdc" / "topic.L2.misc.1turn.VanillaUtterances.jsonl"
KYOTO = SHARED / "corpora" / "pretrain" / "kyoto_wikipedia.txt.xz"

app = typer.Typer(no_args_is_help=True)


class Query(NamedTuple):
    """What a guest asked, and its topic."""

    text: str
    topic: str


def queries(part: str, n: int | None = None) -> list[Query]:
    """RETURNS (list[Query]): Of a part of ASDC, in an order by chance; n of each topic."""
    rows = [json.loads(line) for line in ASDC.read_text(encoding="utf-8").splitlines()]
    found = [
        Query(row["utterances"][0]["text"], row["meta"]["topic"])
        for row in rows
        if row["purpose"] == part
    ]
    random.Random(0).shuffle(found)
    seen: Counter[str] = Counter()
    chosen = []
    for query in found:
        seen[query.topic] += 1
        if n is None or seen[query.topic] <= n:
            chosen.append(query)
    return chosen


@app.command()
def pairs(
    out: Path,
    of_topic: Annotated[int, typer.Option(help="Texts of the index for each topic")] = 5,
    count: Annotated[int, typer.Option(help="Clicks")] = 3200,
) -> None:
    """Write clicks: a query of the training part, and a text of the index of the same topic."""
    rng = random.Random(0)
    targets = defaultdict(list)
    for target in queries("train", of_topic):
        targets[target.topic].append(target.text)
    known = {text for texts in targets.values() for text in texts}
    clicks = [
        {"first": query.text, "second": rng.choice(targets[query.topic])}
        for query in queries("train")
        if query.text not in known
    ]
    lines = [json.dumps(click, ensure_ascii=False) for click in clicks[:count]]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} clicks of {len(clicks)} on {len(known)} texts: {out}")


@app.command()
def faq(
    models: list[str],
    of_topic: Annotated[int, typer.Option(help="Texts of the index for each topic")] = 5,
    count: Annotated[int, typer.Option(help="Queries of the test part")] = 500,
) -> None:
    """Search by vectors, words and both; accuracy of the first hit, MRR of the first ten."""
    asked = queries("test")[:count]
    answers = [
        Entry(f"{i}", target.text, {"topic": target.topic})
        for i, target in enumerate(queries("train", of_topic))
    ]
    print(f"{len(asked)} queries, {len(answers)} texts of 46 topics")
    for number, model in enumerate(models):
        nlp = spacy.load(model)
        indexes = {
            "stop words": Index.build(nlp, answers),
            "all words": Index.build(nlp, answers, stop_words=[]),
        }
        ways: list[tuple[str, str, By, float]] = [("vectors", "stop words", "vectors", 1.0)]
        if not number:
            ways += [(f"BM25, {words}", words, "words", 0.0) for words in indexes]
        ways += [
            (f"hybrid {weight}, {words}", words, "hybrid", weight)
            for words in indexes
            for weight in (0.5, 0.7, 0.9)
        ]
        print(model)
        docs = list(nlp.pipe(query.text for query in asked))
        for name, words, by, weight in ways:
            found = indexes[words].search_docs(docs, 10, by=by, weight=weight)
            ranks = [_rank(hits, query) for hits, query in zip(found, asked, strict=True)]
            accuracy = statistics.mean(rank == 1 for rank in ranks)
            mrr = statistics.mean(1 / rank if rank else 0.0 for rank in ranks)
            print(f"  {name:28} accuracy {accuracy:.3f}  MRR@10 {mrr:.3f}", flush=True)


def _rank(hits: Sequence[Hit], query: Query) -> int | None:
    right = (rank for rank, hit in enumerate(hits, 1) if hit.meta["topic"] == query.topic)
    return next(right, None)


class Article(NamedTuple):
    """An article: its lead and the sentences of its body."""

    lead: list[str]
    body: list[str]


def articles() -> Iterator[Article]:
    """YIELDS (Article): Those with a lead of 2 to 6 sentences, and a body of 12 to 60."""
    lines: list[str] = []
    for _, line in read_lines(KYOTO):
        if line.strip():
            lines.append(line.strip())
            continue
        end = next((i for i, text in enumerate(lines[1:], 1) if not text.endswith("。")), 0)
        article = Article(lines[1:end], [text for text in lines[end:] if text.endswith("。")])
        lines = []
        if 2 <= len(article.lead) <= 6 and 12 <= len(article.body) <= 60:
            yield article


@app.command()
def summary(
    model: str,
    n: Annotated[int, typer.Option(help="Sentences of a summary")] = 3,
    count: Annotated[int, typer.Option(help="Articles")] = 60,
) -> None:
    """Summaries of bodies against leads: by centrality, with and without redundancy control, the
    first n sentences, and n by chance."""
    nlp = spacy.load(model)
    rng = random.Random(0)
    ways: dict[str, Callable[[np.ndarray], list[int]]] = {
        f"lead-{n}": lambda vectors: list(range(n)),
        "chance": lambda vectors: rng.sample(range(len(vectors)), n),
        "centrality": lambda vectors: choose(vectors, n, 0.0),
        **{
            f"redundancy {value}": lambda vectors, value=value: choose(vectors, n, value)
            for value in (0.1, 0.3, 0.5, 0.7)
        },
    }
    scores: dict[str, list[list[float]]] = {way: [] for way in ways}
    for article in islice(articles(), count):
        doc = nlp("\n".join(article.body))
        starts = np.cumsum([0, *(len(text) + 1 for text in article.body)])
        spans = [
            doc.char_span(int(start), int(start) + len(text), alignment_mode="expand")
            for start, text in zip(starts, article.body, strict=False)
        ]
        vectors = np.stack([span.vector for span in spans])
        for way, chosen in ways.items():
            text = "".join(article.body[i] for i in sorted(chosen(vectors)))
            scores[way].append(rouge(text, "".join(article.lead)))
    n_articles = len(next(iter(scores.values())))
    print(f"{n_articles} articles, ROUGE-1, -2 and -L, F of characters")
    for way, found in scores.items():
        means = np.mean(found, axis=0)
        beats = np.mean([sum(a) > sum(b) for a, b in zip(found, scores[f"lead-{n}"], strict=True)])
        figures = "  ".join(f"{mean:.3f}" for mean in means)
        print(f"  {way:16} {figures}  better than lead-{n} in {beats:.0%}")


def rouge(text: str, wanted: str) -> list[float]:
    """RETURNS (list[float]): F of ROUGE-1, ROUGE-2 and ROUGE-L, a character a unit."""
    found = []
    for size in (1, 2):
        ours, theirs = (
            Counter(zip(*(t[i:] for i in range(size)), strict=False)) for t in (text, wanted)
        )
        found.append(_f((ours & theirs).total(), ours.total(), theirs.total()))
    return [*found, _f(_common(text, wanted), len(text), len(wanted))]


def _f(both: int, ours: int, theirs: int) -> float:
    return 2 * both / (ours + theirs) if both else 0.0


def _common(one: str, other: str) -> int:
    """RETURNS (int): The length of the longest common subsequence."""
    row = np.zeros(len(other) + 1, dtype=np.int32)
    letters = np.array(list(other))
    for char in one:
        # The best with a match here, then the best so far along the row.
        row[1:] = np.maximum(row[1:], np.where(letters == char, row[:-1] + 1, 0))
        row = np.maximum.accumulate(row)
    return int(row[-1])


if __name__ == "__main__":
    app()
