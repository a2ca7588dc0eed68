"""Train a model that writes a text for a text, on pairs, from a pretrained encoder.

python project/scripts/train_seq2seq.py configs/seq2seq.cfg --paths.train X.tsv --paths.dev Y.tsv
    --paths.encoder FOLDER --paths.output OUT

Settings of the config can be given behind it, as for `spacy train`. The config says what is left.
A run that was stopped goes on by the same command, and comes to the same weights."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import spacy
import srsly
import torch
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveInt, ValidationError
from spacy.cli._util import parse_config_overrides
from spacy.language import Language
from spacy.util import load_config, minibatch
from tqdm import tqdm
from transformers import (
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    set_seed,
)

from spacy_jbert.errors import DataError, Errors
from spacy_jbert.pipeline.seq2seq import JBertSeq2Seq
from spacy_jbert.pretraining.once import fingerprint, write_manifest
from spacy_jbert.pretraining.trainer import last_checkpoint
from spacy_jbert.seq2seq.model import Seq2Seq
from spacy_jbert.seq2seq.pairs import Pair, read_pairs
from spacy_jbert.seq2seq.scores import require_scores, scores
from spacy_jbert.storage import alone, replacing
from spacy_jbert.terminal import replace_unshowable

# Words as in pretraining; nothing else of them is needed.
_TOKENIZER = {"@tokenizers": "spacy-jbert.SudachiTokenizer.v1", "attributes": "words"}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Paths(_Section):
    train: Path
    dev: Path
    test: Path | None
    encoder: Path
    output: Path


class _Data(_Section):
    source_field: str
    target_field: str


class _Decoder(_Section):
    layers: PositiveInt


class _Training(_Section):
    seed: int
    max_steps: PositiveInt
    batch_size: PositiveInt
    learn_rate: NonNegativeFloat
    warmup_ratio: NonNegativeFloat
    weight_decay: NonNegativeFloat
    label_smoothing: NonNegativeFloat
    max_grad_norm: NonNegativeFloat
    eval_steps: PositiveInt
    save_steps: PositiveInt
    logging_steps: PositiveInt


class _Generation(_Section):
    num_beams: PositiveInt
    max_pieces: PositiveInt
    batch_size: PositiveInt


class Settings(_Section):
    """configs/seq2seq.cfg"""

    paths: _Paths
    data: _Data
    decoder: _Decoder
    training: _Training
    generation: _Generation


def main(config: Path, overrides: list[str]) -> None:
    """Train, test and save.

    config (Path): configs/seq2seq.cfg.
    overrides (list[str]): --section.name value.
    """
    settings = read_settings(config, overrides)
    out = settings.paths.output
    with alone(out / "lock", ValueError(Errors.J552.format(path=out))):
        nlp = spacy.blank("ja", config={"nlp": {"tokenizer": _TOKENIZER}})
        train, dev = (_pairs(settings, path) for path in (settings.paths.train, settings.paths.dev))
        test = settings.paths.test and _pairs(settings, settings.paths.test)
        require_scores()
        seq2seq, history = train_model(settings, nlp, train, dev)
        seq2seq.save(out / "model")
        found = {"dev": dev, **({"test": test} if test else {})}
        nlp.add_pipe(
            "jbert_seq2seq",
            name="seq2seq",
            config=settings.generation.model_dump(exclude={"batch_size"}),
        )
        pipe = nlp.get_pipe("seq2seq")
        assert isinstance(pipe, JBertSeq2Seq)
        pipe.set_model(seq2seq)
        nlp.to_disk(out / "pipeline")
        metrics = {name: tested(settings, nlp, pairs, name) for name, pairs in found.items()}
        with replacing(out / "metrics.json") as (part,):
            srsly.write_json(part, metrics | {"history": history})
    print(json.dumps(metrics, indent=1))


def read_settings(config: Path, overrides: list[str]) -> Settings:
    """RAISES: DataError J558 for what is missing, unknown, or can't be."""
    try:
        given = load_config(config, overrides=parse_config_overrides(overrides), interpolate=True)
        return Settings.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise DataError(Errors.J558.format(reason=reason), path=config) from error
    except ValueError as error:  # of confection
        raise DataError(Errors.J558.format(reason=error), path=config) from error


def _pairs(settings: Settings, path: Path) -> list[Pair]:
    return read_pairs(path, settings.data.source_field, settings.data.target_field)


def train_model(
    settings: Settings, nlp: Language, train: list[Pair], dev: list[Pair]
) -> tuple[Seq2Seq, list[dict[str, Any]]]:
    """Train, from where an earlier run stopped.

    nlp (Language): Its tokenizer makes the words.
    RETURNS (tuple): The model, and the losses by step.
    """
    of = settings.training
    set_seed(of.seed)
    seq2seq = Seq2Seq.warm_start(settings.paths.encoder, settings.decoder.layers)
    longest = min(settings.generation.max_pieces + 1, seq2seq.max_target)
    data = [_features(seq2seq, nlp, pairs, longest) for pairs in (train, dev)]
    # All that the weights depend on: a checkpoint of other settings is none of this run.
    weights = sum(float(w.double().abs().sum()) for w in seq2seq.model.state_dict().values())
    key = fingerprint(of.model_dump(), settings.decoder.model_dump(), data, weights)
    folder = settings.paths.output / "checkpoints"
    trainer = Seq2SeqTrainer(
        model=seq2seq.model,
        args=_arguments(settings, folder),
        train_dataset=data[0],
        eval_dataset=data[1],
        data_collator=DataCollatorForSeq2Seq(seq2seq.tokenizer),
        callbacks=[_Whole(key)],
    )
    checkpoint = last_checkpoint(folder, key)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    names = ("step", "loss", "eval_loss")
    rows = [{name: row[name] for name in names if name in row} for row in trainer.state.log_history]
    seq2seq.model.eval()
    return seq2seq, [row for row in rows if len(row) > 1]


def _features(
    seq2seq: Seq2Seq, nlp: Language, pairs: Sequence[Pair], longest: int
) -> list[dict[str, list[int]]]:
    sources = seq2seq.source_ids([nlp.make_doc(pair.source) for pair in pairs])
    targets = seq2seq.target_ids([nlp.make_doc(pair.target) for pair in pairs], longest)
    return [
        {"input_ids": source, "labels": target}
        for source, target in zip(sources, targets, strict=True)
    ]


def _arguments(settings: Settings, folder: Path) -> Seq2SeqTrainingArguments:
    of = settings.training
    return Seq2SeqTrainingArguments(
        output_dir=str(folder),
        max_steps=of.max_steps,
        per_device_train_batch_size=of.batch_size,
        per_device_eval_batch_size=of.batch_size,
        learning_rate=of.learn_rate,
        warmup_ratio=of.warmup_ratio,
        weight_decay=of.weight_decay,
        label_smoothing_factor=of.label_smoothing,
        max_grad_norm=of.max_grad_norm,
        eval_strategy="steps",
        eval_steps=of.eval_steps,
        save_steps=of.save_steps,
        # One is deleted before its successor is known to be whole.
        save_total_limit=2,
        logging_steps=of.logging_steps,
        seed=of.seed,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        report_to=[],
    )


class _Whole(TrainerCallback):
    """Marks a checkpoint once all of it is written.

    key (str): Stands for the run.
    """

    def __init__(self, key: str) -> None:
        self.key = key

    def on_save(
        self,
        args: Seq2SeqTrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        write_manifest(Path(args.output_dir) / f"checkpoint-{state.global_step}", self.key)


def tested(settings: Settings, nlp: Language, pairs: list[Pair], name: str) -> dict[str, float]:
    """RETURNS (dict[str, float]): How near what is written comes to the targets."""
    with tqdm(desc=f"Writing for {name}", total=len(pairs), unit=" texts") as bar:
        written = []
        for batch in minibatch(pairs, settings.generation.batch_size):
            docs = nlp.pipe([pair.source for pair in batch], batch_size=len(batch))
            written += [doc._.generated for doc in docs]
            bar.update(len(batch))
    said = settings.paths.output / f"{name}.jsonl"
    with replacing(said) as (part,), part.open("w", encoding="utf-8") as file:
        for pair, text in zip(pairs, written, strict=True):
            file.write(json.dumps(pair._asdict() | {"generated": text}, ensure_ascii=False) + "\n")
    return scores(written, [pair.target for pair in pairs])


if __name__ == "__main__":
    replace_unshowable()
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except (OSError, ValueError, ImportError) as error:
        raise SystemExit(str(error)) from error
