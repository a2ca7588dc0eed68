"""Pretraining against `Trainer` with `DataCollatorForWholeWordMask`: the same new BERT, text,
vocabulary, length and number of pieces a batch, fp32; and what each measure alone gives."""

import logging
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import spacy
import torch
from datasets import Dataset
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DataCollatorForWholeWordMask,
    Trainer,
    TrainingArguments,
)
from transformers.trainer_utils import IntervalStrategy

from spacy_jbert.encoder.checkpoint import Encoder
from spacy_jbert.encoder.loaders import SIZES
from spacy_jbert.pretraining.batches import Batches
from spacy_jbert.pretraining.corpus import Corpus, prepare
from spacy_jbert.pretraining.masking import generator, mask
from spacy_jbert.pretraining.objective import MaskedLM
from spacy_jbert.pretraining.text import Cleaning
from spacy_jbert.pretraining.trainer import PretrainingTrainer, training_arguments
from spacy_jbert.pretraining.vocabulary import trained_vocabulary

from .measure import Row, Settings, race, real_lines

_CHARACTERS = 1_000_000
_VOCABULARY = 32768
_LENGTH = 128
_RATE = 0.15
# Size: samples a batch, updates a call, goal.
_RACES = {"mini": (16, 8, 3.0), "base": (8, 2, 1.5)}


def run(settings: Settings) -> Iterator[Row]:
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        data = _prepare(Path(folder))
        for size in _RACES:
            yield _training(size, data, Path(folder), settings)
        yield _logits(data, settings)
        yield _attention_dropout(data, settings)
        yield _masking(data, settings)
        yield _packing(data, settings)


def _prepare(folder: Path) -> SimpleNamespace:
    """Text, vocabulary, our samples, and the chunks of full length that run_mlm_wwm.py makes:
    everything joined and cut.
    """
    (folder / "text.txt").write_text("\n".join(real_lines(_CHARACTERS)), encoding="utf-8")
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    settings: dict[str, Any] = {
        "path": str(folder / "text.txt"),
        "folder": folder,
        "cleaning": Cleaning(),
        "words": "doc",
    }
    tokenizer = trained_vocabulary(str(folder / "text.txt"), size=_VOCABULARY, workers=1)(nlp)
    corpus: Corpus = prepare(nlp, tokenizer, length=_LENGTH - 2, held_out=0.0, **settings)
    pieces = np.concatenate([np.asarray(ids) for ids in corpus.train["ids"]])
    chunks = pieces[: len(pieces) // (_LENGTH - 2) * (_LENGTH - 2)].reshape(-1, _LENGTH - 2)
    frame = [
        np.full((len(chunks), 1), id_) for id_ in (tokenizer.cls_token_id, tokenizer.sep_token_id)
    ]
    stock = Dataset.from_dict({"input_ids": np.concatenate((frame[0], chunks, frame[1]), axis=1)})
    return SimpleNamespace(tokenizer=tokenizer, ours=corpus.train, stock=stock)


def _models(
    size: str, data: SimpleNamespace, attention_dropout: float = 0.0
) -> tuple[MaskedLM, BertForMaskedLM, Encoder]:
    """Both begin with the same weights of the encoder."""
    layers, width, heads = SIZES[size]
    config = BertConfig(
        vocab_size=_VOCABULARY,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        attention_probs_dropout_prob=attention_dropout,
        pad_token_id=data.tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    stock = BertForMaskedLM(config)
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict(stock.bert.state_dict())
    encoder = Encoder(model=model, tokenizer=data.tokenizer)
    return MaskedLM(encoder), stock, encoder


def _training(size: str, data: SimpleNamespace, folder: Path, settings: Settings) -> Row:
    samples, steps, goal = _RACES[size]
    model, stock, encoder = _models(size, data)
    batches = Batches(
        data.ours, encoder, size=samples * _LENGTH, rate=_RATE, final_rate=_RATE, n_batches=steps
    )
    shared: dict[str, Any] = {
        "max_steps": steps,
        "gradient_accumulation_steps": 1,
        "learn_rate": 1e-4,
        "warmup_ratio": 0.0,
        "decay_ratio": 0.0,
        "weight_decay": 0.01,
    }
    shared |= {
        "max_grad_norm": 1.0,
        "precision": "fp32",
        "torch_compile": False,
        "device": "cpu",
        "seed": 0,
        "eval_steps": None,
        "save_total_limit": 2,
    }
    ours_arguments = training_arguments(
        folder,
        **shared,
        save_steps=1000,
        logging_steps=1000,
        report_to=[],
        num_workers=0,
        fsdp=[],
        resumed=False,
    )
    ours_arguments.save_strategy, ours_arguments.disable_tqdm = IntervalStrategy.NO, True
    stock_arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=samples,
        learning_rate=1e-4,
        weight_decay=0.01,
        use_cpu=True,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_steps=1000,
    )
    ours_trainer = PretrainingTrainer(model, ours_arguments, batches, None, "benchmark")
    collator = DataCollatorForWholeWordMask(data.tokenizer, mlm_probability=_RATE)
    stock_trainer = Trainer(
        stock, stock_arguments, train_dataset=data.stock, data_collator=collator
    )
    pieces = sum(
        len(ids)
        for position in range(steps)
        for ids in data.ours[batches.members(position)[1]]["ids"]
    )
    return race(
        f"pretraining, {size}, length {_LENGTH}",
        work=pieces,
        stock_work=steps * samples * (_LENGTH - 2),
        unit="pieces/s",
        ours=ours_trainer.train,
        stock=stock_trainer.train,
        settings=settings,
        goal=goal,
    )


def _logits(data: SimpleNamespace, settings: Settings) -> Row:
    model, _, encoder = _models("mini", data)
    batch = Batches(data.ours, encoder, size=16 * _LENGTH, rate=_RATE, final_rate=_RATE)[0]
    labels = torch.full((batch["input_ids"].numel(),), -100)
    labels[batch["positions"]] = batch["labels"]
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}

    def dense() -> None:
        logits = model.logits(model.encoder(**inputs).last_hidden_state.flatten(0, 1))
        torch.nn.functional.cross_entropy(logits, labels).backward()

    return race(
        "logits at masked positions, mini, against all",
        work=batch["input_ids"].numel(),
        unit="pieces/s",
        ours=lambda: model(**batch)["loss"].backward(),
        stock=dense,
        settings=settings,
    )


def _attention_dropout(data: SimpleNamespace, settings: Settings) -> Row:
    """BertConfig's default is 0.1. The races above give both sides 0."""
    without, with_it = (_models("mini", data, dropout)[0].train() for dropout in (0.0, 0.1))
    batch = Batches(
        data.ours, _models("mini", data)[2], size=16 * _LENGTH, rate=_RATE, final_rate=_RATE
    )[0]
    return race(
        "attention dropout 0, mini, against 0.1",
        work=batch["input_ids"].numel(),
        unit="pieces/s",
        ours=lambda: without(**batch)["loss"].backward(),
        stock=lambda: with_it(**batch)["loss"].backward(),
        settings=settings,
    )


def _masking(data: SimpleNamespace, settings: Settings) -> Row:
    collator = DataCollatorForWholeWordMask(data.tokenizer, mlm_probability=_RATE)
    samples = [{"input_ids": ids} for ids in data.stock[:64]["input_ids"]]
    ids = np.array([sample["input_ids"] for sample in samples])
    strings = np.array(data.tokenizer.convert_ids_to_tokens(range(len(data.tokenizer))))
    continues = np.char.startswith(strings, "##")[ids]
    words = np.cumsum(~continues, axis=1).astype(np.int32)
    words[:, [0, -1]] = -1
    replacements = np.arange(5, len(data.tokenizer))

    def ours() -> None:
        draws = np.stack(
            [generator(0, 0, sample).random((3, _LENGTH)) for sample in range(len(ids))], axis=1
        )
        mask(
            ids,
            words,
            draws,
            rate=_RATE,
            mask_id=data.tokenizer.mask_token_id,
            replacements=replacements,
        )

    return race(
        "whole-word masking",
        work=ids.size,
        unit="pieces/s",
        ours=ours,
        stock=lambda: collator(samples),
        settings=settings,
    )


def _packing(data: SimpleNamespace, settings: Settings) -> Row:
    """Batches of full samples against batches, as large, of single sentences in the order of the
    text.
    """
    model, _, encoder = _models("mini", data)
    packed = [Batches(data.ours, encoder, size=16 * _LENGTH)[position] for position in range(4)]
    sentences = [
        ids
        for row in islice(data.ours, 1000)
        for ids in np.split(np.asarray(row["ids"]), row["sentences"][1:])
    ]
    padded, real = [], 0
    for first in range(0, 16 * len(packed), 16):
        some = sentences[first : first + 16]
        longest = max(map(len, some)) + 2
        ids = np.full((len(some), longest), data.tokenizer.pad_token_id)
        for row, sentence in zip(ids, some, strict=True):
            row[: len(sentence) + 2] = [
                data.tokenizer.cls_token_id,
                *sentence,
                data.tokenizer.sep_token_id,
            ]
        real += sum(map(len, some))
        positions = np.flatnonzero(ids > len(data.tokenizer.all_special_ids))[::7]
        arrays = {
            "input_ids": ids,
            "positions": positions,
            "labels": ids.ravel()[positions],
            "attention_mask": (ids > 0).astype(np.int64),
        }
        padded.append({name: torch.from_numpy(array) for name, array in arrays.items()})

    def train(batches: list[dict[str, torch.Tensor]]) -> Callable[[], None]:
        def all_batches() -> None:
            for batch in batches:
                model(**batch)["loss"].backward()

        return all_batches

    full = sum(batch["input_ids"].numel() - 2 * len(batch["input_ids"]) for batch in packed)
    return race(
        "packing, mini, against a sentence a sample",
        work=full,
        stock_work=real,
        unit="pieces/s",
        ours=train(packed),
        stock=train(padded),
        settings=settings,
    )
