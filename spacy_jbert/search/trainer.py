"""Training on pairs: the loop of pretraining, with its checkpoints, over other batches."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import TrainingArguments

from ..pretraining.batches import Batches
from ..pretraining.objective import MaskedLM
from ..pretraining.trainer import LearningCurve, PretrainingTrainer
from .contrastive import PairBatches, PairEncoder, correlations, retrieval


class PairTrainer(PretrainingTrainer):
    """See `PretrainingTrainer`, which asks of its batches only that they come by position.

    model (PairEncoder): What is trained.
    train_dataset, eval_dataset (PairBatches): The run, and the held-out pairs; None for none.
    """

    title = "Tuning on pairs"

    def __init__(
        self,
        model: PairEncoder,
        args: TrainingArguments,
        train_dataset: PairBatches,
        eval_dataset: PairBatches | None,
        run: str,
    ) -> None:
        super().__init__(
            cast(MaskedLM, model),
            args,
            cast(Batches, train_dataset),
            cast(Batches | None, eval_dataset),
            run,
        )
        self.remove_callback(LearningCurve)
        self.pairs = model

    @torch.no_grad()
    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure on the held-out pairs.

        RETURNS (dict[str, float]): eval_loss; eval_pearson and eval_spearman of cosines and scores,
            or eval_accuracy and eval_mrr of the second texts among all that are different.
        """
        batches = cast(PairBatches, self.eval_dataset)
        self.pairs.eval()
        losses, sides, members = [], [], []
        for position in range(len(batches)):
            inputs = self._prepare_inputs(batches[position])
            # In fp32 whatever it is trained in: cosines lie close together.
            output = self.pairs(**inputs)
            losses.append(float(output["loss"]))
            vectors = cast(Tensor, output["vectors"]).cpu().numpy()
            sides.append(np.stack(np.split(vectors, 2)))
            members.append(batches.members(position))
        order = np.concatenate(members)
        first, second = np.concatenate(sides, axis=1)
        if self.pairs.objective == "cosent":
            figures = correlations((first * second).sum(1), batches.scores[order])
        else:
            texts = np.unique(batches.seconds[order], return_index=True, return_inverse=True)
            figures = retrieval(first, second[texts[1]], texts[2])
        metrics = {"eval_loss": float(np.mean(losses))}
        metrics |= {f"eval_{name}": value for name, value in figures.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics
