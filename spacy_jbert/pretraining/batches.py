"""Which samples are trained on at which position of the run, and their tensors: a pure function of
seed and position.
"""

from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from ..encoder.checkpoint import Encoder
from .masking import generator, mask, rate_at

SentenceObjective = Literal["none", "nsp", "sop"]
# Behind every sample number: the generator of the order of a whole pass.
_ORDER = 2**40 - 1


class Batches(torch.utils.data.Dataset[dict[str, Tensor]]):
    """The batches of a run, by position. Nothing is remembered from one to the next, so a run can
    start anywhere.

    samples (Dataset): What `corpus.prepare` gives.
    encoder (Encoder): Whose pieces they are.
    n_batches (int | None): How many there are, the data repeated as needed; None for one pass. size
        (int), size_by (str): The most pieces (padding counted) or samples in a batch.
    rate, final_rate (float): The share of pieces to be masked at the beginning and at the end.
    sentence_objective (str): nsp: does B follow A (Devlin et al. 2019)? sop: are A and B in order
        (Lan et al. 2020)?
    """

    def __init__(
        self,
        samples: Dataset,
        encoder: Encoder,
        *,
        n_batches: int | None = None,
        size: int = 8192,
        size_by: Literal["pieces", "samples"] = "pieces",
        rate: float = 0.15,
        final_rate: float = 0.15,
        sentence_objective: SentenceObjective = "none",
        seed: int = 0,
    ) -> None:
        self.samples = samples.with_format("arrow")
        self.rate, self.final_rate, self.sentence_objective, self.seed = (
            rate,
            final_rate,
            sentence_objective,
            seed,
        )
        tokenizer = encoder.tokenizer
        self.pad_id, self.mask_id = encoder.pad_id, tokenizer.mask_token_id
        self.special = encoder.special_ids
        self.between = encoder.between_ids
        self.token_types = (
            sentence_objective != "none" and getattr(encoder.model.config, "type_vocab_size", 0) > 1
        )
        self.replacements = np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)
        lengths = np.asarray(samples.with_format("numpy")["length"][:])
        self.by_length = np.argsort(-lengths, kind="stable")
        # Sorted, the lengths are the same in every pass, and so are the batches' borders; only who
        # stands where differs.
        descending = (
            lengths[self.by_length]
            + len(self.special[0])
            + len(self.between)
            + len(self.special[1])
        )
        self.borders = [0]
        while self.borders[-1] < len(lengths):
            longest = int(descending[self.borders[-1]])
            self.borders.append(
                self.borders[-1] + (max(1, size // longest) if size_by == "pieces" else size)
            )
        self.borders[-1] = len(lengths)
        self.lengths = lengths
        self.n_batches = n_batches or self.per_pass
        self.order: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    @property
    def per_pass(self) -> int:
        """RETURNS (int): The batches in one pass over the samples."""
        return len(self.borders) - 1

    def __len__(self) -> int:
        return self.n_batches

    def members(self, position: int) -> tuple[int, NDArray[np.int64]]:
        """RETURNS: The pass that a batch belongs to, and its samples. *Shape:* `(n_samples,)`."""
        epoch, place = divmod(position, self.per_pass)
        if self.order is None or self.order[0] != epoch:
            rng = generator(self.seed, epoch, _ORDER)
            shuffled = rng.permutation(len(self.lengths))
            shuffled = shuffled[np.argsort(-self.lengths[shuffled], kind="stable")]
            self.order = epoch, shuffled, rng.permutation(self.per_pass)
        _, shuffled, batches = self.order
        batch = int(batches[place])
        return epoch, shuffled[self.borders[batch] : self.borders[batch + 1]]

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        """Build a batch.

        RETURNS: input_ids, *shape* `(n_samples, length)`; attention_mask and token_type_ids, the
            same, where they are needed; positions and labels of the masked pieces, `(n_masked,)`;
            sentence_labels, `(n_samples,)`, -100 where there is no pair.
        """
        epoch, members = self.members(position)
        rngs = [generator(self.seed, epoch, int(sample)) for sample in members]
        built = [
            self._assemble(row, rng) for row, rng in zip(self._rows(members), rngs, strict=True)
        ]
        longest = max(len(ids) for ids, _, _, _ in built)
        ids = np.full((len(built), longest), self.pad_id, dtype=np.int64)
        words = np.full((len(built), longest), -1, dtype=np.int32)
        types, attention = np.zeros_like(ids), np.zeros_like(ids)
        draws = np.ones((3, len(built), longest))
        for i, (piece_ids, piece_words, n_first, _) in enumerate(built):
            n = len(piece_ids)
            ids[i, :n], words[i, :n], attention[i, :n], types[i, n_first:n] = (
                piece_ids,
                piece_words,
                1,
                1,
            )
            draws[:, i, :n] = rngs[i].random((3, n))
        rate = rate_at(position / self.n_batches, self.rate, self.final_rate)
        masked = mask(
            ids, words, draws, rate=rate, mask_id=self.mask_id, replacements=self.replacements
        )
        batch = {"input_ids": masked.ids, "positions": masked.positions, "labels": masked.labels}
        if not attention.all():
            batch["attention_mask"] = attention
        if self.token_types:
            batch["token_type_ids"] = types
        if self.sentence_objective != "none":
            batch["sentence_labels"] = np.array([label for _, _, _, label in built])
        return {name: torch.from_numpy(array) for name, array in batch.items()}

    def _rows(self, samples: NDArray[np.int64]) -> list[dict[str, Any]]:
        table = self.samples[samples]
        columns = {
            name: [value.values.to_numpy() for value in table[name]]
            for name in ("ids", "words", "sentences")
        }
        documents = table["document"].to_numpy()
        return [
            {"ids": ids, "words": words, "sentences": sentences, "document": document}
            for ids, words, sentences, document in zip(*columns.values(), documents, strict=True)
        ]

    def _assemble(
        self, row: dict[str, Any], rng: np.random.Generator
    ) -> tuple[NDArray, NDArray, int, int]:
        """Put special pieces around the segments of a sample.

        RETURNS: Piece ids and words (-1: special), *shape* `(length,)` each; the length of the
            first segment; the pair's label.
        """
        segments, label = self._segments(row, rng)
        before, after = self.special
        ids: list[Any] = [before]
        words: list[Any] = [[-1] * len(before)]
        n_first = 0
        for (piece_ids, piece_words), frame in zip(
            segments, [self.between, after][-len(segments) :], strict=True
        ):
            ids += [piece_ids, frame]
            words += [piece_words, [-1] * len(frame)]
            n_first = n_first or sum(map(len, ids))
        return np.concatenate(ids), np.concatenate(words), n_first, label

    def _segments(
        self, row: dict[str, Any], rng: np.random.Generator
    ) -> tuple[list[tuple[NDArray, NDArray]], int]:
        """RETURNS: One segment and -100; or two, cut between two sentences, and 0, or 1 where they
        are not as in the text.
        """
        ids, words, starts = row["ids"], row["words"], row["sentences"]
        if self.sentence_objective == "none" or len(starts) < 2:
            return [(ids, words)], -100
        cut = starts[rng.integers(1, len(starts))]
        first, second = (ids[:cut], words[:cut]), (ids[cut:], words[cut:])
        if rng.random() < 0.5:
            return [first, second], 0
        if self.sentence_objective == "sop":
            return [second, first], 1
        for _ in range(20):
            other = self._rows(rng.integers(len(self.lengths), size=1))[0]
            if other["document"] != row["document"]:
                start = rng.choice(other["sentences"])
                end = start + len(
                    second[0]
                )  # no longer than what it replaces: the batch was made for that length
                return [first, (other["ids"][start:end], other["words"][start:end])], 1
        return [first, second], 0  # as good as all of the corpus is one document
