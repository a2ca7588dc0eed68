"""`jbert_companies`: entities linked to a user's table of companies."""

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example

from ..corpora.companies import GOES_ON, Company, CompanyIndex, Mention, core_name, read_companies
from ..errors import Errors, Warnings

logger = logging.getLogger(__name__)

EXTENSION = "jbert_companies"
"""`doc._.jbert_companies`: the mentions, (start, end, codes) in characters."""
_FILE = "companies.json"


@Language.factory(
    "jbert_companies",
    assigns=["doc.ents", f"doc._.{EXTENSION}", "token.ent_kb_id"],
    default_config={"label": "組織名", "labels": None},
)
def make_companies(nlp: Language, name: str, label: str, labels: list[str] | None) -> "Companies":
    """Construct a component that finds the companies of a table in texts and links them.

    label (str): Of entities that the table alone finds.
    labels (list[str] | None): Labels of entities that can be companies; None: `label` alone.
    """
    return Companies(name, label=label, labels=labels or [label])


class Companies:
    """Finds the names of a table of companies in texts, and links them: `ent.kb_id_` is the code.

    A name inside of an entity of `labels` gives that entity its code, unless a longer name goes on
    there, as 日本電気硝子 does behind 日本電気. A name outside of entities becomes one. An alias of
    several companies is linked only if the text names one of them otherwise too. Entities are
    whole tokens; `doc._.jbert_companies` has the exact characters, and also what isn't linked.

    name (str): The component's name.
    label, labels: See `make_companies`.
    """

    def __init__(self, name: str, *, label: str, labels: Iterable[str]) -> None:
        self.name = name
        self.label = label
        self.labels = frozenset(labels)
        self.index = CompanyIndex([])
        if not Doc.has_extension(EXTENSION):
            Doc.set_extension(EXTENSION, getter=_mentions, setter=_set_mentions)
        _, _, getter, setter = Doc.get_extension(EXTENSION)
        if getter and not setter:
            raise ValueError(Errors.J416.format(extension=EXTENSION, name=name))

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]] | None = None,
        *,
        nlp: Language | None = None,
        table: str | Path | None = None,
    ) -> None:
        """Read the table; aliases of several companies are told (JW560).

        table (str | Path): A file that `read_companies` reads.
        RAISES: ValueError J565 without one, DataError with file and line.
        """
        if table is None:
            raise ValueError(Errors.J565.format(name=self.name))
        self.set(read_companies(Path(table)))
        for alias, codes in sorted(self.index.ambiguous.items()):
            logger.warning(Warnings.JW560.format(alias=alias, codes=", ".join(codes)))

    def set(self, companies: Iterable[Company]) -> None:
        """Take another table."""
        self.index = CompanyIndex(companies)

    def __call__(self, doc: Doc) -> Doc:
        """Find and link. RAISES: ValueError J565 without a table."""
        if not self.index.companies:
            raise ValueError(Errors.J565.format(name=self.name))
        entities = list(doc.ents)
        mentions = [
            mention
            for mention in self.index.find(doc.text)
            if not any(self._names_another(ent, mention) for ent in entities)
        ]
        doc._.set(EXTENSION, mentions)
        linked: list[Span] = []
        for mention in mentions:
            span = self._entity(doc, mention, entities)
            if not linked or linked[-1].end <= span.start:
                linked.append(span)
        if linked:
            taken = [(span.start, span.end) for span in linked]
            doc.ents = linked + [ent for ent in entities if not _overlaps(ent, taken)]
        return doc

    def _names_another(self, ent: Span, mention: Mention) -> bool:
        """Whether an entity goes on, without a break, beside a name in it."""
        start, end = ent.start_char, ent.end_char
        if ent.label_ not in self.labels or not start <= mention.start < mention.end <= end:
            return False
        text = ent.doc.text
        before, behind = text[start : mention.start], text[mention.end : end]
        if core_name(behind) == "" or behind.startswith(GOES_ON):
            behind = ""
        return _is_of_a_name(behind[:1]) or _is_of_a_name(before[-1:])

    def _entity(self, doc: Doc, mention: Mention, entities: list[Span]) -> Span:
        """The entity that a mention is: one that is there and holds it, or a new one."""
        code = mention.codes[0] if len(mention.codes) == 1 else ""
        span = doc.char_span(mention.start, mention.end, alignment_mode="expand")
        for ent in entities:
            if ent.label_ in self.labels and ent.start <= span.start < span.end <= ent.end:
                return Span(doc, ent.start, ent.end, label=ent.label, kb_id=code)
        return Span(doc, span.start, span.end, label=self.label, kb_id=code)

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """See `Language.to_disk`."""
        Path(path).mkdir(parents=True, exist_ok=True)
        (Path(path) / _FILE).write_bytes(self.to_bytes())

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "Companies":
        """See `Language.from_disk`. RAISES: ValueError J091."""
        file = Path(path) / _FILE
        if not file.is_file():
            raise ValueError(Errors.J091.format(name=self.name, where=path, reason="no " + _FILE))
        return self._from(file.read_bytes(), file)

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """See `Language.to_bytes`."""
        rows = [asdict(company) for company in self.index.companies.values()]
        return json.dumps(rows, ensure_ascii=False, indent=1).encode()

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> "Companies":
        """See `Language.from_bytes`. RAISES: ValueError J091."""
        return self._from(data, "bytes")

    def _from(self, data: bytes, where: Any) -> "Companies":
        try:
            rows = json.loads(data)
            companies = [Company(**row | {"aliases": tuple(row["aliases"])}) for row in rows]
            self.set(companies)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = Errors.J091.format(name=self.name, where=where, reason=error)
            raise ValueError(message) from error
        return self


def _is_of_a_name(char: str) -> bool:
    """Hiragana beside a name are most often particles."""
    return char.isalnum() and not "ぁ" <= char <= "ゖ"


def _overlaps(ent: Span, taken: list[tuple[int, int]]) -> bool:
    return any(ent.start < end and start < ent.end for start, end in taken)


def _mentions(doc: Doc) -> list[Mention] | None:
    """RETURNS (list[Mention] | None): Also of Docs of other processes and of files, where bytes
    have made lists of tuples.
    """
    found = doc.user_data.get(EXTENSION)
    if found is None:
        return None
    return [Mention(start, end, tuple(codes)) for start, end, codes in found]


def _set_mentions(doc: Doc, mentions: Iterable[Mention]) -> None:
    doc.user_data[EXTENSION] = [tuple(mention) for mention in mentions]
