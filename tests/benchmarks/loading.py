"""`spacy.load` of a base-size pipeline: seconds and memory, ours and spacy-transformers with the
same weights. Linux only.

Each load is a process of its own that has imported everything before it starts the clock. Weights
are mapped, so loading alone reads few of them: memory is given after a first text too. As the files
were just written, they are in the page cache: no disk is measured."""

import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import transformers
from transformers import BertConfig, BertModel, BertTokenizerFast

from .measure import ROOT, Row, Settings, compare

TEXT = "これはさいしょのテキストです。"


class Load(NamedTuple):
    """One load: seconds, and the highest memory use above that of the imports, by then and after a
    first text, in bytes.
    """

    seconds: float
    loaded: int
    used: int


def run(settings: Settings) -> Iterator[Row]:
    """RETURNS (Iterator[Row]): Seconds, then memory in multiples of the weights: `ours` is to be
    1.3 at most.
    """
    with tempfile.TemporaryDirectory() as folder:
        weights = _build(Path(folder))
        names = ("ours", "fp16", "stock")
        for name in names:
            _in_a_process(Path(folder) / name)
        loads: dict[str, list[Load]] = {name: [] for name in names}
        for i in range(settings.repeats):
            for name in names if i % 2 == 0 else names[::-1]:
                loads[name].append(_in_a_process(Path(folder) / name))
        for name, what in (
            ("ours", "spacy.load, base size"),
            ("fp16", "spacy.load, base size, weights stored in fp16"),
        ):
            pairs = list(zip(loads[name], loads["stock"], strict=True))
            yield compare(
                what, "s", [(a.seconds, b.seconds) for a, b in pairs], goal=5.0, less_is_better=True
            )
            for moment, when in (
                ("loaded", "peak memory"),
                ("used", "peak memory with a first text"),
            ):
                sizes = [
                    (getattr(a, moment) / weights, getattr(b, moment) / weights) for a, b in pairs
                ]
                yield compare(f"{what}: {when}", "× weights", sizes, less_is_better=True)


def _build(folder: Path) -> int:
    """Save the pipelines.

    RETURNS (int): The bytes of the weights in fp32.
    """
    import spacy

    torch.manual_seed(0)
    kana = [chr(code) for code in (*range(0x3041, 0x3097), *range(0x30A1, 0x30FB))]
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *kana,
        *(a + b for a, b in itertools.product(kana, kana)),
    ]
    pieces = [*pieces, *(f"##{piece}" for piece in pieces[5:])][:32_000]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    encoder = BertModel(BertConfig(vocab_size=len(pieces)))
    encoder.save_pretrained(folder / "encoder")
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), do_lower_case=False).save_pretrained(
        folder / "encoder"
    )
    for name, storage in (("ours", "fp32"), ("fp16", "fp16")):
        nlp = spacy.blank("ja")
        nlp.add_pipe(
            "jbert_transformer", name="transformer", config={"model": {"storage": storage}}
        )
        loader = {"@misc": "spacy-jbert.HFEncoder.v1", "name": str(folder / "encoder")}
        nlp.config["initialize"]["components"]["transformer"] = {"encoder": loader}
        nlp.initialize()
        nlp.to_disk(folder / name)
    nlp = spacy.blank("ja")
    model = {
        "@architectures": "spacy-transformers.TransformerModel.v3",
        "name": str(folder / "encoder"),
    }
    nlp.add_pipe("transformer", config={"model": {**model, "tokenizer_config": {"use_fast": True}}})
    nlp.initialize()
    nlp.to_disk(folder / "stock")
    return sum(weight.nbytes for weight in encoder.parameters())


def _in_a_process(pipeline: Path) -> Load:
    command = [sys.executable, "-m", __name__, str(pipeline)]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return Load(**json.loads(result.stdout.splitlines()[-1]))


def _memory(which: str) -> int:
    """VmRSS, what is in use, or VmHWM, the most that was.

    RETURNS (int): Bytes.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(which))


def main(pipeline: Path) -> None:
    import spacy
    import spacy_transformers
    import sudachidict_core
    import sudachipy

    import spacy_jbert.pipeline.transformer

    imported = (
        spacy_transformers,
        sudachidict_core,
        sudachipy,
        spacy_jbert,
        transformers.BertModel,
        transformers.BertTokenizerFast,
    )
    assert all(imported)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest use so far is forgotten
    start = time.perf_counter()
    nlp = spacy.load(pipeline)
    seconds = time.perf_counter() - start
    loaded = _memory("VmHWM") - before
    nlp(TEXT)
    print(json.dumps(Load(seconds, loaded, _memory("VmHWM") - before)._asdict()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
