"""A memory zone that leaves nothing behind.

spaCy's own forgets the words of the texts, but not their readings: a pipeline's `Morphology` keeps
each one, with its strings, for ever. Numbers and names have ever new ones, so a service would
grow by half a kilobyte a text."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spacy.language import Language
from spacy.morphology import Morphology
from spacy.strings import StringStore


@contextmanager
def forgetting(nlp: Language) -> Iterator[None]:
    """Run texts through a pipeline without making it larger.

    Docs, and all that belongs to them, are of no use afterwards. Readings of words that the
    tokenizer has met before the first such block are missing inside of it.
    """
    vocab = nlp.vocab
    kept = vocab.morphology
    with nlp.memory_zone():
        vocab.morphology = Morphology(_Transient(vocab.strings))
        try:
            yield
        finally:
            vocab.morphology = kept


class _Transient(StringStore):
    """Strings that are put into another store until its memory zone ends.

    strings (StringStore): The other store.
    """

    def __init__(self, strings: StringStore) -> None:
        super().__init__()
        # The stubs of spaCy know no `allow_transient`.
        self.others: Any = strings

    def add(self, string: Any, allow_transient: bool | None = None) -> int:
        # Morphology asks for strings that stay.
        added: int = self.others.add(string, allow_transient=True)
        return added

    def __getitem__(self, key: Any) -> Any:
        return self.others[key]

    def as_string(self, key: Any) -> str:
        found: str = self.others.as_string(key)
        return found
