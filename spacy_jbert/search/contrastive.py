"""What an encoder learns from pairs: the loss, the batches by position, and how good it is on pairs
that it hasn't seen."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from spacy.tokens import Doc
from torch import Tensor, nn

from ..encoder.checkpoint import Encoder
from ..encoder.forward import run_model
from ..models.pooling import Pooling, pool_batch
from ..wordpieces.segmentation import Segmenter
from .pairs import Pair

Objective = Literal["auto", "negatives", "cosent"]

# So many batches are sorted by length together: less padding, and other batches in each pass.
_SORTED_TOGETHER = 16


class PairEncoder(nn.Module):
    """An encoder with a loss over pairs.

    "negatives": the second text of each pair against those of all others in the batch (multiple
    negatives ranking: Henderson et al. 2017, arXiv:1705.00652); texts that are equal aren't held
    against each other. "cosent": pairs with a higher score have the higher cosine (CoSENT: Su 2022,
    kexue.fm/archives/8847).

    encoder (Encoder): Trained in place.
    temperature (float): Cosines are divided by it.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        objective: Objective,
        pooling: Pooling,
        temperature: float,
    ) -> None:
        super().__init__()
        self.encoder = encoder.model
        self.encoder.requires_grad_(True)
        self.objective, self.pooling, self.temperature = objective, pooling, temperature

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor,
        firsts: Tensor,
        seconds: Tensor,
    ) -> dict[str, Tensor]:
        """Loss of a batch.

        input_ids, attention_mask: First texts, then second ones. *Shape:* `(2 * n_pairs, longest)`.
        labels: The scores. *Shape:* `(n_pairs,)`.
        firsts, seconds: Numbers of the texts, the same for equal ones. *Shape:* `(n_pairs,)`.
        RETURNS: loss, and the vectors, *shape* `(2 * n_pairs, width)`.
        """
        hidden = run_model(self.encoder, input_ids, attention_mask).last_hidden_state
        vectors = F.normalize(pool_batch(hidden, attention_mask, self.pooling).float(), dim=-1)
        first, second = vectors.chunk(2)
        if self.objective == "cosent":
            loss = _cosent((first * second).sum(-1) / self.temperature, labels)
        else:
            scores = first @ second.T / self.temperature
            loss = _ranking(scores, _same(seconds) | _same(firsts))
        return {"loss": loss, "vectors": vectors}


def _same(numbers: Tensor) -> Tensor:
    same = numbers[:, None] == numbers[None, :]
    return same & ~torch.eye(len(numbers), dtype=torch.bool, device=numbers.device)


def _ranking(scores: Tensor, left_out: Tensor) -> Tensor:
    """scores, left_out: *Shape:* `(n_pairs, n_pairs)`."""
    targets = torch.arange(len(scores), device=scores.device)
    return F.cross_entropy(scores.masked_fill(left_out, -torch.inf), targets)


def _cosent(cosines: Tensor, scores: Tensor) -> Tensor:
    """log(1 + sum of exp(cosine of i - cosine of j) where j should be higher). cosines, scores:
    *Shape:* `(n_pairs,)`.
    """
    wrong = cosines[:, None] - cosines[None, :]
    wrong = wrong.masked_fill(scores[:, None] >= scores[None, :], -torch.inf)
    return torch.logsumexp(F.pad(wrong.flatten(), (1, 0)), dim=0)


class PairBatches(torch.utils.data.Dataset[dict[str, Tensor]]):
    """The batches of a run, by position, a pure function of seed and position: a run can start
    anywhere.

    texts (list): The piece ids of all different texts, special ones and prefix included.
    firsts, seconds (NDArray): The numbers of each pair's texts. *Shape:* `(n_pairs,)`.
    scores (NDArray): *Shape:* `(n_pairs,)`.
    size (int): The most pairs in a batch.
    shuffled (bool): False: in one order, for evaluation.
    """

    def __init__(
        self,
        texts: list[list[int]],
        firsts: NDArray[np.int64],
        seconds: NDArray[np.int64],
        scores: NDArray[np.float32],
        *,
        pad_id: int,
        size: int,
        seed: int = 0,
        shuffled: bool = True,
    ) -> None:
        self.texts, self.firsts, self.seconds, self.scores = texts, firsts, seconds, scores
        self.pad_id, self.size, self.seed, self.shuffled = pad_id, size, seed, shuffled
        self.lengths = np.array([len(ids) for ids in texts], dtype=np.int64)
        self.n_batches = self.per_pass
        self._order: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    @property
    def per_pass(self) -> int:
        """RETURNS (int): The batches in one pass over the pairs."""
        return -(-len(self.scores) // self.size)

    def __len__(self) -> int:
        return self.n_batches

    def members(self, position: int) -> NDArray[np.int64]:
        """RETURNS (NDArray): The pairs of a batch. *Shape:* `(n,)`."""
        epoch, place = divmod(position, self.per_pass)
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, *self._ordered(epoch)
        _, pairs, batches = self._order
        return np.array_split(pairs, self.per_pass)[batches[place]]

    def _ordered(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The pairs of a pass, those of about one length together, and the order of its batches."""
        longest = np.maximum(self.lengths[self.firsts], self.lengths[self.seconds])
        n = len(self.scores)
        if not self.shuffled:
            return np.argsort(longest, kind="stable"), np.arange(self.per_pass)
        rng = np.random.default_rng((self.seed, epoch))
        pairs = rng.permutation(n)
        for begin in range(0, n, _SORTED_TOGETHER * self.size):
            part = pairs[begin : begin + _SORTED_TOGETHER * self.size]
            pairs[begin : begin + len(part)] = part[np.argsort(longest[part], kind="stable")]
        return pairs, rng.permutation(self.per_pass)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        """Build a batch: see `PairEncoder.forward`."""
        members = self.members(position)
        firsts, seconds = self.firsts[members], self.seconds[members]
        rows = [self.texts[number] for number in (*firsts.tolist(), *seconds.tolist())]
        longest = max(map(len, rows))
        ids = np.full((len(rows), longest), self.pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)], mask[i, : len(row)] = row, 1
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            "labels": torch.from_numpy(self.scores[members]),
            "firsts": torch.from_numpy(firsts),
            "seconds": torch.from_numpy(seconds),
        }


def make_batches(
    pairs: Sequence[Pair],
    *,
    segmenter: Segmenter,
    docs: Sequence[Doc],
    frames: tuple[tuple[list[int], list[int]], tuple[list[int], list[int]]],
    pad_id: int,
    max_length: int,
    size: int,
    seed: int = 0,
    shuffled: bool = True,
) -> PairBatches:
    """Cut pairs into wordpieces.

    docs (Sequence[Doc]): Their first texts, then their second ones.
    frames (tuple): What stands before and behind first texts, and second ones.
    max_length (int): Of a text, in pieces, with what stands around it; what is longer is cut off.
    RETURNS (PairBatches): The batches.
    """
    numbers: dict[tuple[int, ...], int] = {}
    of_text = []
    for i, pieces in enumerate(segmenter(docs)):
        before, behind = frames[i >= len(pairs)]
        body = pieces.ids[: max_length - len(before) - len(behind)].tolist()
        of_text.append(numbers.setdefault((*before, *body, *behind), len(numbers)))
    firsts, seconds = np.array(of_text, dtype=np.int64).reshape(2, -1)
    return PairBatches(
        [list(ids) for ids in numbers],
        firsts,
        seconds,
        np.array([pair.score or 0.0 for pair in pairs], dtype=np.float32),
        pad_id=pad_id,
        size=size,
        seed=seed,
        shuffled=shuffled,
    )


def correlations(cosines: NDArray[np.float32], scores: NDArray[np.float32]) -> dict[str, float]:
    """RETURNS (dict[str, float]): pearson and spearman; 0 where one side is constant."""
    ranks = _ranks(cosines), _ranks(scores)
    return {"pearson": _pearson(cosines, scores), "spearman": _pearson(*ranks)}


def _pearson(one: NDArray, other: NDArray) -> float:
    one, other = one - one.mean(dtype=np.float64), other - other.mean(dtype=np.float64)
    norm = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / norm if norm else 0.0


def _ranks(values: NDArray) -> NDArray[np.float64]:
    """Equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[inverse]


def retrieval(first: NDArray, second: NDArray, wanted: NDArray[np.int64]) -> dict[str, float]:
    """How often the wanted text is the nearest one, and the mean reciprocal of its rank.

    first, second (NDArray): Vectors of queries, *shape* `(n_queries, width)`, and of all different
        texts, `(n_texts, width)`.
    wanted (NDArray): The row of the text that each query wants. *Shape:* `(n_queries,)`.
    RETURNS (dict[str, float]): accuracy and mrr.
    """
    scores = first @ second.T
    own = scores[np.arange(len(wanted)), wanted]
    ranks = 1 + (scores > own[:, None]).sum(1)
    return {"accuracy": float((ranks == 1).mean()), "mrr": float((1 / ranks).mean())}
