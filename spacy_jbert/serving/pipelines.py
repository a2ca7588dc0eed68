"""The pipelines of a service, each under its name."""

import logging
import re
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.tokens import Doc

from ..errors import Errors
from ..evaluation.questions import Question, set_questions
from .annotations import answers_questions
from .answers import Job, analysis
from .refusals import Refusal, failed
from .zone import forgetting

logger = logging.getLogger(__name__)

# What the tokenizer knows of words goes with a zone, so one for each batch would make it slow.
_TEXTS_A_ZONE = 1_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Pipeline:
    """A loaded pipeline. `analyse` is for one thread at a time.

    name (str): In the service's addresses.
    nlp (Language): The pipeline, loaded and not used otherwise.
    """

    def __init__(self, name: str, nlp: Language) -> None:
        self.name = name
        self.nlp = nlp
        self.answers_questions = answers_questions(nlp)
        self._zone = ExitStack()
        self._texts = 0

    def about(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): What its meta.json says of it, for JSON."""
        meta = self.nlp.meta
        return {
            "name": self.name,
            "version": meta.get("version", ""),
            "description": meta.get("description", ""),
            "lang": meta.get("lang", ""),
            "components": list(self.nlp.pipe_names),
            "labels": {name: list(labels) for name, labels in self.nlp.pipe_labels.items()},
            "scores": meta.get("performance", {}),
            "answers_questions": self.answers_questions,
        }

    def analyse(self, jobs: Sequence[Job]) -> list[dict[str, Any] | Refusal]:
        """Run texts through the pipeline as one batch. If that fails, each alone, so that a text
        that can't be done hurts no other.

        RETURNS (list): For each text its `Analysis`, or why there is none.
        """
        try:
            return list(self._together(jobs))
        # A panic of Rust code is no Exception, and threads get no KeyboardInterrupt.
        except BaseException as error:
            if len(jobs) > 1:
                return [self.analyse([job])[0] for job in jobs]
            logger.error("%s: %s", self.name, told(error))
            return [failed()]

    def _together(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        if self._texts >= _TEXTS_A_ZONE:
            self.forget()
        if not self._texts:
            self._zone.enter_context(forgetting(self.nlp))
        self._texts += len(jobs)
        docs = self.nlp.pipe([self._asked(job) for job in jobs], batch_size=len(jobs))
        return [analysis(self.nlp, doc, job) for doc, job in zip(docs, jobs, strict=True)]

    def _asked(self, job: Job) -> str | Doc:
        if not job.questions:
            return job.text
        doc = self.nlp.make_doc(job.text)
        set_questions(doc, [Question("", question, None) for question in job.questions])
        return doc

    def forget(self) -> None:
        """Let go of the words of the last texts."""
        self._zone.close()
        self._texts = 0


def told(error: BaseException) -> str:
    """RETURNS (str): An error without its message, which may quote a text."""
    where = traceback.extract_tb(error.__traceback__)
    place = f"{Path(where[-1].filename).name}:{where[-1].lineno}" if where else "?"
    code = re.match(r"\[[A-Z]+\d+\]", str(error))
    return f"{type(error).__name__}{' ' + code[0] if code else ''} at {place}"


def load(models: Sequence[str]) -> list[Pipeline]:
    """Load pipelines, and try each with a text.

    models (Sequence[str]): Each a folder or an installed package, NAME=… to name it otherwise than
        its folder or package.
    RAISES: ValueError J435 for a name that can't be used; spaCy's E050 for what isn't there.
    """
    named: dict[str, str] = {}
    for model in models:
        name, equals, source = model.partition("=")
        if not equals or Path(model).exists():
            name, source = Path(model).resolve().name, model
        if not _NAME.fullmatch(name) or name in named:
            raise ValueError(Errors.J435.format(name=name, source=source))
        named[name] = source
    pipelines = [Pipeline(name, spacy.load(source)) for name, source in named.items()]
    for pipeline in pipelines:
        with forgetting(pipeline.nlp):
            pipeline.nlp("東京です。")
    return pipelines
