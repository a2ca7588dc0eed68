"""What a card makes of it: `python -m tests.benchmarks gpu --out FOLDER`.

Random weights, any recent torch, a card or (with tiny sizes, so that this file can't rot) a CPU.
Each part is written to FOLDER/rows.jsonl when it is measured, and not measured again: a run that
was interrupted goes on. Without CuPy the heads are on the CPU, which the rows say, and there are no
rows of spacy-transformers. Rates are of one warm repetition; MFU is the share of the card's dense
bf16 arithmetic, counting 2 operations a weight and piece forward and 6 in training.
"""

import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import spacy
import srsly
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from spacy import registry
from spacy.language import Language
from spacy.training import Example
from spacy.training.batchers import minibatch_by_words

from spacy_jbert.corpora.docs import japanese_tokenizer, make_doc
from spacy_jbert.pretraining.utilisation import peak_of
from spacy_jbert.serving.entries import Entry
from spacy_jbert.serving.workers import Job, Workers

from .measure import ROOT, SAMPLE, real_lines
from .pipelines import fresh, fresh_examples

VOCABULARY = ROOT / "project" / "assets" / "jbert-mini"
# Whether spaCy is on the card too.
has_cupy = spacy.prefer_gpu()


@dataclass(frozen=True)
class Sizes:
    """How much is measured. `SMALL` only shows that everything runs."""

    encoder: dict[str, Any]
    pretrained: dict[str, Any]
    texts: int
    steps: int
    pretrain_steps: int
    batch_words: tuple[int, ...]
    pretrain_batches: tuple[int | None, ...]
    characters: int
    workers: tuple[int, ...]


FULL = Sizes(
    encoder={"size": "base"},
    pretrained={"layers": 8, "width": 384, "heads": 6},
    texts=4096,
    steps=12,
    pretrain_steps=200,
    batch_words=(300, 1000, 4000),
    pretrain_batches=(None, 32_768, 131_072),
    characters=20_000_000,
    workers=(8,),
)
SMALL = Sizes(
    encoder={"layers": 1, "width": 32, "heads": 2},
    pretrained={"layers": 1, "width": 32, "heads": 2},
    texts=8,
    steps=2,
    pretrain_steps=4,
    batch_words=(100,),
    pretrain_batches=(None, 1024),
    characters=40_000,
    workers=(2,),
)

Part = tuple[str, Callable[[], dict[str, Any]]]


def main(out: Path, sizes: Sizes | None = None) -> list[dict[str, Any]]:
    """Measure whatever FOLDER/rows.jsonl doesn't have yet, and print the table.

    out (Path): The folder.
    sizes (Sizes | None): FULL on a card, SMALL on a CPU if None.
    RETURNS (list[dict[str, Any]]): A row a part: what, rate, unit, device, and what belongs to it.
    """
    sizes = sizes or (FULL if torch.cuda.is_available() else SMALL)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "rows.jsonl"
    rows = list(srsly.read_jsonl(path)) if path.is_file() else []
    done = {(row["what"], row["device"]) for row in rows}
    for what, measure in track(list(parts(sizes)), description="Parts"):
        if (what, device_name()) in done:
            continue
        row = {"what": what, "device": device_name(), "torch": torch.__version__}
        row |= {"cupy": has_cupy} | measure()
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        rows.append(row)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    Console().print(table(rows))
    return rows


def parts(sizes: Sizes) -> Iterator[Part]:
    """Each part's name, and what measures it."""
    stock = () if device() == "cuda" and not has_cupy else (None,)
    for precision in ("fp32", "bf16"):
        yield f"bare encoder, {precision}", lambda p=precision: bare(sizes, p)
    for kind in ("sentences", "documents"):
        for batch in (64, 512):
            for precision in ("fp32", "bf16"):
                what = f"annotate {kind}, {batch} a batch, {precision}"
                yield what, lambda k=kind, b=batch, p=precision: annotate(sizes, k, b, p)
            for _ in stock:
                what = f"annotate {kind}, {batch} a batch, spacy-transformers"
                yield what, lambda k=kind, b=batch: annotate(sizes, k, b, None)
        for workers in sizes.workers:
            what = f"text to entities, {kind}, bf16, {workers} processes"
            yield what, lambda k=kind, n=workers: annotate_by_processes(sizes, k, n)
    for kind in ("sentences", "documents"):
        for words in sizes.batch_words:
            for precision in ("fp32", "bf16", *stock):
                name = precision or "spacy-transformers"
                what = f"fine-tune {kind}, {words} words a batch, {name}"
                yield what, lambda k=kind, w=words, p=precision: fine_tune(sizes, k, w, p)
    for pieces in sizes.pretrain_batches:
        what = f"pretrain, {pieces or 'default'} pieces a batch"
        yield what, lambda n=pieces: pretrain(sizes, sizes.pretrained, n)
    if device() == "cuda":
        most = sizes.pretrain_batches[-1]
        yield (
            f"pretrain, {most} pieces a batch, compiled",
            lambda: pretrain(sizes, sizes.pretrained, most, torch_compile=True),
        )
    batch = sizes.pretrain_batches[1]
    what = f"pretrain the encoder of annotation, {batch} pieces a batch"
    yield what, lambda: pretrain(sizes, sizes.encoder, batch)


def bare(sizes: Sizes, precision: str) -> dict[str, Any]:
    """The encoder alone over full windows of 128 pieces: the limit of annotation."""
    encoder = pipeline(sizes.encoder, precision).get_pipe("transformer").encoder
    model = encoder.model.eval().to(device())
    if precision == "bf16":
        model = model.bfloat16()
    ids = torch.randint(5, 1000, (512 if device() == "cuda" else 4, 128), device=device())

    def forward() -> None:
        with torch.inference_mode():
            for _ in range(sizes.steps):
                encoder(ids)

    return rate(forward, sizes.steps * ids.numel(), "pieces/s", operations(encoder.model, 2))


def annotate(sizes: Sizes, kind: str, batch: int, precision: str | None) -> dict[str, Any]:
    """`nlp.pipe` from words to entities; None: spacy-transformers and `ner`, same weights."""
    nlp = pipeline(sizes.encoder, precision)
    docs = [nlp.make_doc(text) for text in texts(kind, sizes.texts)]

    def run() -> None:
        for _ in nlp.pipe(fresh(nlp, docs), batch_size=batch):
            pass

    return rate(run, sum(map(len, docs)), "tokens/s")


def annotate_by_processes(sizes: Sizes, kind: str, workers: int) -> dict[str, Any]:
    """What `jbert annotate --workers N --gpu-id 0` does between reading and writing, begun."""
    nlp = pipeline(sizes.encoder, "bf16")
    found = texts(kind, sizes.texts)
    entries = [Entry("texts", i, {"text": text}) for i, text in enumerate(found, start=1)]
    batches = [entries[i : i + 256] for i in range(0, len(entries), 256)]
    tokens = [sum(len(nlp.make_doc(entry.fields["text"])) for entry in batch) for batch in batches]
    # Each process has loaded its pipeline once it has done some.
    numbers = [n % len(batches) for n in range(12 * workers)]
    with tempfile.TemporaryDirectory() as folder:
        nlp.to_disk(folder)
        job = Job(folder, "jsonl", "text", "", threads=1, gpu_id=0 if has_cupy else -1)
        work, begun = 0, 0.0
        with Workers(job, workers) as pool:
            for done, (n, _) in enumerate(pool.annotate((n, batches[n]) for n in numbers), start=1):
                if done > 4 * workers:
                    work += tokens[n]
                elif done == 4 * workers:
                    begun = time.perf_counter()
            seconds = time.perf_counter() - begun
    return {"rate": round(work / seconds, 1), "unit": "tokens/s"}


def fine_tune(sizes: Sizes, kind: str, words: int, precision: str | None) -> dict[str, Any]:
    """`nlp.update` as `spacy train` does it."""
    nlp = pipeline(sizes.encoder, precision)
    found = chain.from_iterable(repeat(examples(nlp, kind)))
    batches = [
        batch
        for batch, _ in zip(minibatch_by_words(found, size=words), range(sizes.steps), strict=False)
    ]
    optimizer = nlp.create_optimizer()

    def run() -> None:
        for batch in batches:
            nlp.update(fresh_examples(nlp, batch), drop=0.1, sgd=False, losses={})
            for _, pipe in nlp.pipeline:
                pipe.finish_update(optimizer)

    n_tokens = sum(len(eg.predicted) for batch in batches for eg in batch)
    return rate(run, n_tokens, "tokens/s")


def pretrain(
    sizes: Sizes, encoder: dict[str, Any], pieces: int | None, **changed: Any
) -> dict[str, Any]:
    """The registered callback; with None exactly its defaults, otherwise bf16 and workers."""
    callback = registry.callbacks.get("spacy-jbert.pretrain_mlm.v2")
    settings: dict[str, Any] = {"max_steps": sizes.pretrain_steps, "validation_fraction": 0.0}
    if pieces is not None:
        settings |= {"batch_size": pieces, "precision": "bf16", "num_workers": 8}
        if device() == "cpu":
            settings["num_workers"] = 1
    settings |= changed
    nlp = pipeline(encoder, "fp32", heads=False)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_text("\n".join(real_lines(sizes.characters)), encoding="utf-8")
        log_steps = max(1, sizes.pretrain_steps // 10)
        callback(
            path=str(text),
            output=f"{folder}/run",
            max_length=128,
            logging_steps=log_steps,
            **settings,
        )(nlp)
        metrics = srsly.read_json(Path(folder) / "run" / "metrics.json")
    found = metrics["pieces_per_second"]
    work = operations(nlp.get_pipe("transformer").encoder.model, 6)
    return {"rate": found, "unit": "pieces/s"} | utilisation(found, work)


def pipeline(encoder: dict[str, Any], precision: str | None, heads: bool = True) -> Language:
    """An initialised pipeline; precision None: spacy-transformers with the same kind of weights."""
    loader = {
        "@misc": "spacy-jbert.NewEncoder.v1",
        "vocabulary": str(VOCABULARY),
        "seed": 0,
        **encoder,
    }
    tokenizer = {"@tokenizers": "spacy-jbert.SudachiTokenizer.v1", "attributes": "words"}
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": tokenizer}})
    if precision is not None:
        nlp.add_pipe(
            "jbert_transformer",
            name="transformer",
            config={
                "model": {
                    "precision": precision,
                    "device": "cuda:0" if device() == "cuda" and not has_cupy else "auto",
                }
            },
        )
        nlp.config["initialize"]["components"]["transformer"] = {"encoder": loader}
        if heads:
            nlp.add_pipe("jbert_ner", name="ner")
        nlp.initialize(lambda: examples(nlp, "sentences")[:50])
        return nlp
    with tempfile.TemporaryDirectory() as folder:
        registry.misc.get("spacy-jbert.NewEncoder.v1")(
            **{key: value for key, value in loader.items() if key != "@misc"}
        )(nlp).save(Path(folder) / "encoder")
        nlp.add_pipe(
            "transformer",
            config={
                "model": {
                    "@architectures": "spacy-transformers.TransformerModel.v3",
                    "name": f"{folder}/encoder",
                    "tokenizer_config": {"use_fast": True},
                }
            },
        )
        listener = {
            "@architectures": "spacy-transformers.TransformerListener.v1",
            "grad_factor": 1.0,
            "pooling": {"@layers": "reduce_mean.v1"},
        }
        nlp.add_pipe("ner", config={"model": {"tok2vec": listener, "use_upper": False}})
        nlp.initialize(lambda: examples(nlp, "sentences")[:50])
    return nlp


def records() -> list[dict[str, Any]]:
    return list(srsly.read_jsonl(SAMPLE))


def texts(kind: str, n: int) -> list[str]:
    """Sentences of the sample, or ten of them as one document, again and again."""
    found = [record["text"] for record in records()]
    if kind == "documents":
        found = ["".join(found[i : i + 10]) for i in range(0, len(found), 10)]
        n = max(1, n // 10)
    return (found * (n // len(found) + 1))[:n]


def examples(nlp: Language, kind: str) -> list[Example]:
    """The sample's entities; a document is ten sentences."""
    found = []
    words = japanese_tokenizer()
    step = 10 if kind == "documents" else 1
    rows = records()
    for i in range(0, len(rows), step):
        text, entities = "", []
        for record in rows[i : i + step]:
            entities += [
                (len(text) + start, len(text) + end, label)
                for start, end, label in record["entities"]
            ]
            text += record["text"]
        reference = make_doc(words, text, sorted(entities))
        found.append(Example(nlp.make_doc(text), reference))
    return found


def rate(call: Callable[[], None], work: int, unit: str, flops: float = 0.0) -> dict[str, Any]:
    """Units a second of the second call: the first warms up."""
    call()
    synchronize()
    start = time.perf_counter()
    call()
    synchronize()
    found = work / (time.perf_counter() - start)
    return {"rate": round(found, 1), "unit": unit} | utilisation(found, flops)


def operations(model: torch.nn.Module, each: int) -> float:
    """Operations a piece, without the embeddings' look-up and attention's own products."""
    embeddings = sum(p.numel() for n, p in model.named_parameters() if "embedding" in n)
    return each * (sum(p.numel() for p in model.parameters()) - embeddings)


def utilisation(found: float, flops: float) -> dict[str, float]:
    """The model's share of the card's arithmetic (MFU), where its peak is known."""
    peak = peak_of(device_name())
    return {"mfu": round(found * flops / peak, 4)} if peak and flops else {}


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def table(rows: list[dict[str, Any]]) -> Table:
    shown = Table("what", "unit", "device")
    shown.add_column("rate", justify="right")
    shown.add_column("MFU", justify="right")
    for row in rows:
        mfu = f"{row['mfu']:.1%}" if "mfu" in row else ""
        shown.add_row(row["what"], row["unit"], row["device"], f"{row['rate']:,.0f}", mfu)
    return shown
