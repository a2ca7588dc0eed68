"""`doc._.jbert_questions`, `doc._.jbert_answers` and `doc._.answers(question)`: what is asked of a
Doc, what `jbert_qa` answers, and the answers to a question that comes later.

Questions and answers are lists of dicts in the Doc's user data, so `DocBin(store_user_data=True)`
and `to_bytes` keep them."""

import gc
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..corpora.docs import QUESTIONS_KEY
from ..errors import Errors, Warnings

if TYPE_CHECKING:
    from ..pipeline.qa import JBertQA

logger = logging.getLogger(__name__)

QUESTIONS, ANSWERS, METHOD = "jbert_questions", "jbert_answers", "answers"

# Who answers for a Doc: the component that it went through, or else the only one of its vocabulary,
# or else the only one there is.
_asked: "WeakKeyDictionary[Doc, JBertQA]" = WeakKeyDictionary()
_known: "WeakSet[JBertQA]" = WeakSet()


class Answer(NamedTuple):
    """A part of a Doc's text that answers a question.

    text (str): `doc.text[start:end]`.
    start, end (int): Characters.
    score (float): The probability of exactly this part, among all and that none is the answer.
    """

    text: str
    start: int
    end: int
    score: float


class Question(NamedTuple):
    """A question to a text, as `doc._.jbert_questions` has it.

    id (str): Its name in the corpus; may be empty.
    question (str): The question.
    answers (list | None): Start and end of each right answer, in characters; of several any is
        right. Empty: the text doesn't answer it. None: that isn't known.
    """

    id: str
    question: str
    answers: list[tuple[int, int]] | None

    def stored(self) -> dict[str, Any]:
        """RETURNS (dict): What user data can hold."""
        stored: dict[str, Any] = {"id": self.id, "question": self.question}
        if self.answers is not None:
            stored["answers"] = [list(answer) for answer in self.answers]
        return stored


class Answered(NamedTuple):
    """What `jbert_qa` says to a question, as `doc._.jbert_answers` has it.

    id, question: See `Question`.
    answers (list[Answer]): The best, best first; empty if the text doesn't answer.
    no_answer (float): The probability that it doesn't.
    """

    id: str
    question: str
    answers: list[Answer]
    no_answer: float

    def stored(self) -> dict[str, Any]:
        """RETURNS (dict): What user data can hold."""
        answers = [answer._asdict() for answer in self.answers]
        return {**self._asdict(), "answers": answers}


def questions_of(doc: Doc) -> list[Question]:
    """RETURNS (list[Question]): What is asked of a Doc.

    RAISES: ValueError J527 for what are no questions, or answers outside of the text.
    """
    found = doc.user_data.get(QUESTIONS_KEY, [])
    if not isinstance(found, list | tuple):  # DocBin gives back tuples
        raise ValueError(Errors.J527.format(what=repr(found)[:80], reason="it is no list"))
    return [_question(entry, len(doc.text)) for entry in found]


def _question(entry: Any, length: int) -> Question:
    def fault(reason: str) -> ValueError:
        return ValueError(Errors.J527.format(what=repr(entry)[:80], reason=reason))

    if isinstance(entry, str):
        entry = {"question": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("question"), str):
        raise fault("it is neither a text nor a dict with a question")
    if not entry["question"].strip():
        raise fault("the question is empty")
    answers = entry.get("answers")
    if answers is None:
        return Question(str(entry.get("id", "")), entry["question"], None)
    if not isinstance(answers, list | tuple):
        raise fault("answers is no list")
    spans: list[tuple[int, int]] = []
    for answer in answers:
        if not isinstance(answer, list | tuple) or [type(at) for at in answer] != [int, int]:
            raise fault("an answer is a start and an end, in characters")
        start, end = answer
        if not 0 <= start < end <= length:
            raise fault(f"the text has {length} characters")
        spans.append((start, end))
    return Question(str(entry.get("id", "")), entry["question"], spans)


def set_questions(doc: Doc, questions: Iterable[Question]) -> None:
    """Keep what is asked of a Doc."""
    doc.user_data[QUESTIONS_KEY] = [question.stored() for question in questions]


def set_answers(doc: Doc, answered: Iterable[Answered]) -> None:
    """Keep what is answered."""
    doc.user_data["._.", ANSWERS, None, None] = [of.stored() for of in answered]


def answered_of(doc: Doc) -> Iterator[Answered]:
    """YIELDS (Answered): What `doc._.jbert_answers` has."""
    for entry in doc.user_data.get(("._.", ANSWERS, None, None), []):
        answers = [Answer(**answer) for answer in entry["answers"]]
        yield Answered(entry["id"], entry["question"], answers, entry["no_answer"])


def know(pipe: "JBertQA") -> None:
    """Let a component answer for Docs of its vocabulary."""
    _known.add(pipe)


def remember(docs: Iterable[Doc], pipe: "JBertQA") -> None:
    """Let a component answer for these Docs."""
    for doc in docs:
        _asked[doc] = pipe


def ask(doc: Doc, question: str | Sequence[str], n: int = 3) -> Any:
    """`doc._.answers(question, n=3)`.

    question (str | Sequence[str]): One, or several, which are answered in one go.
    n (int): So many answers at most.
    RETURNS (list[Answer] | list[list[Answer]]): The best first, none if the text doesn't answer;
        of several questions a list each.
    RAISES: ValueError J524 if no component answers for this Doc, J525 for what is no question.
    """
    pipe = _asked.get(doc)
    if pipe is None:
        pipe = _only_one(doc.vocab)
    if isinstance(question, str):
        return pipe.answer([(doc, question)], n=n)[0].answers
    if not isinstance(question, Iterable):
        raise ValueError(Errors.J525.format(what=repr(question), wanted="a question"))
    return [answered.answers for answered in pipe.answer([(doc, of) for of in question], n=n)]


def _only_one(vocab: Vocab) -> "JBertQA":
    """RETURNS (JBertQA): The component of a vocabulary; or, as one that was sourced has that of the
    pipeline which it came from, the only one there is.

    RAISES: ValueError J524.
    """
    candidates = [known for known in _known if known.vocab is vocab]
    if not candidates and len(_known) > 1:
        # Those that nobody holds any more don't count.
        gc.collect()
    candidates = candidates or list(_known)
    if len(candidates) != 1:
        raise ValueError(Errors.J524.format(count=len(candidates)))
    return candidates[0]


def register() -> None:
    """Add the extensions to `Doc`.

    A warning if `answers` is another's: it stays so.
    """
    for name in (QUESTIONS, ANSWERS):
        if not Doc.has_extension(name):
            Doc.set_extension(name, default=[])
    if not Doc.has_extension(METHOD):
        Doc.set_extension(METHOD, method=ask)
    if Doc.get_extension(METHOD)[1] is not ask:
        logger.warning(Warnings.JW522.format(name=METHOD))
