"""A trained pipeline for other engines: its encoder run by onnxruntime, in fp32 or int8, measured
against what it was before."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from spacy.language import Language
from spacy.scorer import Scorer
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch
from tqdm import tqdm

from .encoder.onnx_export import export_encoder
from .errors import Errors
from .evaluation.calibration import fit_all
from .evaluation.confidence import get_confidence
from .evaluation.scorers import forget_vectors
from .models.onnx import OnnxShim, make_onnx
from .models.shim import EncoderShim, encoder_parts
from .packaging import portable
from .pipeline.qa import JBertQA

_ARCHITECTURES = {
    "spacy-jbert.JapaneseTransformer.v1": "spacy-jbert.OnnxTransformer.v1",
    "spacy-jbert.Tok2VecTransformer.v1": "spacy-jbert.Tok2VecOnnxTransformer.v1",
}
# What the two have in common; the rest is torch's, or about training.
_KEPT = ("words", "window", "overlap", "max_batch_pieces", "pooling", "grad_factor")
# Of these more is worse.
_ERRORS = ("ents_ece", "cats_ece")


@dataclass
class Comparison:
    """What an export changed.

    difference (float): The largest of the vectors, on random wordpieces.
    before, after (dict[str, float]): Scores on the dev set, by their names in spaCy's JSON, and
        `ents_macro_f`, the mean F of the labels.
    texts, changed (int): Documents of the dev set, and those with other entities or another best
        category.
    confidence (float): The largest difference of a probability that both give, before anything was
        fitted again.
    """

    difference: float = 0.0
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    texts: int = 0
    changed: int = 0
    confidence: float = 0.0

    def drops(self) -> dict[str, float]:
        """RETURNS (dict[str, float]): By how much each score is worse."""
        worse = {name: self.before[name] - self.after.get(name, 0.0) for name in self.before}
        return {name: -drop if name in _ERRORS else drop for name, drop in worse.items()}


def export_onnx(
    nlp: Language,
    *,
    int8: bool = False,
    read_dev: Callable[[], list[Example]] | None = None,
    max_drop: float = 0.003,
    threads: int | None = None,
) -> Comparison:
    """Let onnxruntime run every encoder of a pipeline, in place.

    int8 (bool): See `export_encoder`. Probabilities are fitted again on the dev set.
    read_dev (Callable | None): Reads annotated documents; each time anew, as a pipeline writes to
        them.
    max_drop (float): By how much F, macro F and calibration error may be worse on them.
    threads (int | None): Of onnxruntime; None for as many as torch has.
    RETURNS (Comparison): What changed.
    RAISES: ValueError J031 if it has no encoder, J311 if the dev set has nothing annotated that
        the pipeline predicts, J430 and J431 if an encoder can't be exported, J432 if the scores are
        worse than `max_drop`, J433 if they are ONNX graphs already, J532 for `jbert_qa`.
    """
    for name, pipe in nlp.pipeline:
        if isinstance(pipe, JBertQA):
            raise ValueError(Errors.J532.format(name=name))
    models = list(encoder_parts(getattr(pipe, "model", None) for _, pipe in nlp.pipeline))
    if not models:
        raise ValueError(Errors.J031.format(names=", ".join(nlp.pipe_names)))
    if any(isinstance(model.shims[0], OnnxShim) for model in models):
        reason = "its encoder is run by onnxruntime already."
        raise ValueError(Errors.J433.format(model=nlp.meta["name"], reason=reason))
    found = Comparison()
    said: list[_Said] = []
    if read_dev is not None:
        found.before, said = _measure(nlp, read_dev(), "torch")
    for model in models:
        shim = cast(EncoderShim, model.shims[0])
        encoder = shim.require_encoder()
        encoder.to("cpu")
        onnx = export_encoder(encoder, int8=int8, threads=threads)
        found.difference = max(found.difference, onnx.facts["difference"])
        own = OnnxShim(words=shim.words, threads=threads)
        own.encoder = cast(Any, onnx)
        make_onnx(model, own)
    for name in nlp.pipe_names:
        _rename(nlp.get_pipe_config(name), threads)
    portable()(nlp)
    if read_dev is None:
        return found
    found.after, now = _measure(nlp, read_dev(), "onnxruntime")
    found.texts = len(said)
    found.changed = sum(a.best != b.best for a, b in zip(said, now, strict=True))
    found.confidence = max(
        (
            abs(a.sure[key] - b.sure[key])
            for a, b in zip(said, now, strict=True)
            for key in a.sure.keys() & b.sure.keys()
        ),
        default=0.0,
    )
    if int8:
        fit_all(nlp, read_dev())
        found.after, _ = _measure(nlp, read_dev(), "calibrated")
    _require_no_drop(found, max_drop)
    return found


def _rename(section: dict[str, Any], threads: int | None) -> None:
    """In the config: other architectures, without what torch alone knows."""
    for name, value in section.items():
        if not isinstance(value, dict):
            continue
        _rename(value, threads)
        architecture = _ARCHITECTURES.get(value.get("@architectures", ""))
        if architecture is not None:
            kept = {key: value[key] for key in _KEPT if key in value}
            section[name] = {"@architectures": architecture, **kept, "threads": threads}


@dataclass
class _Said:
    """What a pipeline says of a document: what is compared exactly, and how sure it is of it."""

    best: tuple[Any, ...]
    sure: dict[Any, float]


def _said(doc: Doc) -> _Said:
    found = {(ent.start_char, ent.end_char, ent.label_): get_confidence(ent) for ent in doc.ents}
    sure = {key: score for key, score in found.items() if score is not None}
    best = max(doc.cats, key=lambda label: doc.cats[label], default=None)
    return _Said((tuple(found), best), {**sure, **doc.cats})


def _measure(
    nlp: Language, examples: list[Example], what: str
) -> tuple[dict[str, float], list[_Said]]:
    """RAISES: ValueError J311 if there is nothing to score."""
    annotated = {
        "ents": any(eg.reference.has_annotation("ENT_IOB") for eg in examples),
        "cats": any(eg.reference.cats for eg in examples),
    }
    said = []
    with tqdm(total=len(examples), desc=what, unit=" docs", leave=False) as bar:
        for batch in minibatch(examples, nlp.batch_size):
            for eg, doc in zip(batch, nlp.pipe(eg.predicted for eg in batch), strict=True):
                eg.predicted = doc
                said.append(_said(doc))
                forget_vectors(doc)
            bar.update(len(batch))
    scores = Scorer(nlp).score(examples)
    of_labels = [label["f"] for label in (scores.get("ents_per_type") or {}).values()]
    possible = {
        "ents_f": scores.get("ents_f"),
        "ents_macro_f": sum(of_labels) / len(of_labels) if of_labels else None,
        "ents_ece": scores.get("ents_ece"),
        "cats_micro_f": scores.get("cats_micro_f"),
        "cats_macro_f": scores.get("cats_macro_f"),
        "cats_ece": scores.get("cats_ece"),
    }
    figures = {
        name: float(value)
        for name, value in possible.items()
        if value is not None and annotated[name[:4]]
    }
    if not figures:
        kinds = "labels of what the pipeline predicts"
        raise ValueError(Errors.J311.format(path="--dev", kinds=kinds, count=len(examples)))
    return figures, said


def _require_no_drop(found: Comparison, max_drop: float) -> None:
    """RAISES: ValueError J432."""
    # What the four digits of a score don't show is rounding, no drop.
    worse = [name for name, drop in found.drops().items() if round(drop, 4) > max_drop]
    if worse:
        figures = ", ".join(
            f"{name} {found.before[name]:.4f} -> {found.after.get(name, 0.0):.4f}" for name in worse
        )
        raise ValueError(Errors.J432.format(limit=max_drop, figures=figures))
