"""`spacy-jbert.SudachiTokenizer.v1`: text to Docs, the same Docs as spaCy's own Japanese tokenizer
makes, several times faster.

Sudachi finds the morphemes. Everything that a Doc stores about one follows from its dictionary
entry and its surface, so it is worked out once and kept."""

import logging
import re
import threading
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import srsly
from spacy import util
from spacy.attrs import POS
from spacy.lang.ja import DetailedToken
from spacy.lang.ja.tag_bigram_map import TAG_BIGRAM_MAP
from spacy.lang.ja.tag_map import TAG_MAP
from spacy.lang.ja.tag_orth_map import TAG_ORTH_MAP
from spacy.language import Language
from spacy.scorer import Scorer
from spacy.symbols import X
from spacy.tokens import Doc, MorphAnalysis
from spacy.training import Example, validate_examples
from spacy.vocab import Vocab
from sudachipy import Dictionary, Morpheme, SplitMode
from sudachipy import Tokenizer as Sudachi
from sudachipy.errors import SudachiError

from ..errors import Errors, Warnings
from ..saving import save_whole
from ..storage import recover
from .dictionaries import Dictionaries, UnpackedFiles, files_in

logger = logging.getLogger(__name__)

_MODES = {None: SplitMode.A, "A": SplitMode.A, "B": SplitMode.B, "C": SplitMode.C}
_ATTRIBUTES = ("all", "words")
# Sudachi refuses more, and more than 65,535 bytes after its own normalisation, which can make 33
# bytes of one character.
_MAX_BYTES = 49_149
# Sudachi joins digits to numbers in a time that goes with the square of how many numbers there are:
# five seconds for the 49,149 characters of "1,9,1,9 …". Some numbers (⅑, ⑽, ㉕) are joined like
# several.
_NUMBERS = re.compile(
    "[{}]|[0-9０-９]+|[〇一二三四五六七八九十百千万億兆]+".format(
        "".join(
            char
            for char in map(chr, (*range(0xA0, 0x3400), *range(0x1F100, 0x1F110)))
            if unicodedata.category(char) == "No" and len(unicodedata.normalize("NFKC", char)) > 1
        )
    )
)
_MOST_NUMBERS = 1024
_SENTENCE_ENDS = frozenset("。．！？!?\n")
# What Sudachi reads of an entry to join numbers and unknown words. With less, it joins others, or
# none.
_WORD_FIELDS = {"pos", "normalized_form"}
# How many tokens before the end of a stretch may turn out otherwise once the text goes on.
_MARGIN = 64
# Entries of Sudachi's dictionaries have smaller ids. The others (unknown words, joined numbers)
# have one for each part of speech.
_FIRST_OOV_ID = 0xF000_0000
# Rows kept: some 30 MB. Ten million tokens of varied text have about three times as many different
# ones.
_CACHE_SIZE = 1 << 16
_GAP_TAG = "空白"
# Halves of UTF-16 pairs, which spaCy's strings can't hold, as they are UTF-8.
_HALVES = re.compile("[\ud800-\udfff]")

# spaCy's rules about two tags in a row, by the first of them: what it and the second one are then.
_RULES: dict[str, dict[str, tuple[int | None, int | None]]] = {}
for (_left, _right), _found in TAG_BIGRAM_MAP.items():
    _RULES.setdefault(_left, {})[_right] = _found

_T = TypeVar("_T")

SubTokens = tuple[tuple[DetailedToken, ...], ...] | None
"""How a token is cut in the shorter split modes."""


class _Row(NamedTuple):
    """What a Doc stores about a token. Ids are those of the StringStore."""

    orth: int
    tag: int
    pos: int
    lemma: int
    norm: str | None  # None for the lexeme's own
    morph: MorphAnalysis
    rules: dict[int, tuple[int | None, int | None]] | None  # by the id of the next tag
    sub_tokens: SubTokens


def sudachi_tokenizer(
    split_mode: str | None = "A", attributes: str = "all", dict: str = "core"
) -> Callable[[Language], "SudachiTokenizer"]:
    """`spacy-jbert.SudachiTokenizer.v1`, for [nlp.tokenizer]. Files, such as user dictionaries, are
    named in [initialize.tokenizer].

    split_mode (str | None): Sudachi's split mode, "A" (short, also None), "B" or "C" (long).
    attributes (str): "all" for what spaCy's Japanese tokenizer sets; "words" for words and spaces
        alone, which is faster.
    dict (str): The system dictionary: "small", "core" or "full".
    RETURNS (Callable[[Language], SudachiTokenizer]): Makes the tokenizer of a pipeline.
    RAISES: ValueError J020, J021 or J022 for a setting that can't be used.
    """

    def make_tokenizer(nlp: Language) -> SudachiTokenizer:
        save_whole(nlp)
        return SudachiTokenizer(
            nlp.vocab, split_mode, attributes=attributes, dictionaries=Dictionaries(dict)
        )

    return make_tokenizer


class SudachiTokenizer(util.DummyTokenizer):
    """Text to Doc. For texts of any length, and for any number of threads.

    vocab (Vocab): The pipeline's.
    split_mode (str | None): "A", "B", "C"; None is "A".
    attributes (str): "all" or "words".
    dictionaries (Dictionaries | None): What Sudachi works with; the core dictionary by default.
    RAISES: ValueError J020 for another mode or other attributes, J022 where a dictionary isn't
        installed.
    """

    def __init__(
        self,
        vocab: Vocab,
        split_mode: str | None = "A",
        *,
        attributes: str = "all",
        dictionaries: Dictionaries | None = None,
    ) -> None:
        self.vocab = vocab
        # Strings that are added in a memory zone vanish with it. This one tells a zone that we have
        # seen from a later one.
        self._zone_mark = f"spacy-jbert.SudachiTokenizer.v1 {id(self)}"
        self._lock = threading.Lock()
        self._set(split_mode, attributes, dictionaries or Dictionaries())

    def _set(
        self,
        split_mode: str | None,
        attributes: str,
        dictionaries: Dictionaries,
        *,
        opened: Dictionary | None = None,
    ) -> None:
        if split_mode not in _MODES:
            raise ValueError(
                Errors.J020.format(
                    setting="split_mode", value=split_mode, choices="'A', 'B', 'C' or null"
                )
            )
        if attributes not in _ATTRIBUTES:
            raise ValueError(
                Errors.J020.format(
                    setting="attributes", value=attributes, choices="'all' or 'words'"
                )
            )
        dictionaries.check_installed()
        self.split_mode = split_mode
        self.attributes = attributes
        self.dictionaries = dictionaries
        self._dictionary = opened
        # A tokenizer of Sudachi's serves one thread at a time; the dictionary serves them all.
        self._local = threading.local()
        # A row for each token; with words alone, the id of each word.
        self._rows: dict[Hashable, Any] = {}
        # While in a memory zone, how many rows were there before it.
        self._before_zone: int | None = None

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]] | None = None,
        *,
        nlp: Language | None = None,
        system_dict: str | None = None,
        user_dicts: Sequence[str] = (),
        config: str | None = None,
    ) -> None:
        """Take up files, as named in [initialize.tokenizer]. A saved pipeline holds copies of them,
        and no path.

        get_examples, nlp: Not used.
        system_dict (str | None): A compiled system dictionary, instead of an installed one.
        user_dicts (Sequence[str]): Compiled user dictionaries (`sudachipy ubuild`), up to 14.
        config (str | None): Sudachi's settings, a sudachi.json.
        RAISES: ValueError J023, J024 or J025 for files that can't be used.
        """
        if system_dict is not None or user_dicts or config is not None:
            name = self.dictionaries.name
            self._open(
                self.split_mode,
                self.attributes,
                Dictionaries.gather(name, system=system_dict, users=user_dicts, settings=config),
            )

    def _open(self, split_mode: str | None, attributes: str, dictionaries: Dictionaries) -> None:
        dictionaries.check_installed()
        self._set(split_mode, attributes, dictionaries, opened=dictionaries.open())

    def __call__(self, text: str) -> Doc:
        """Tokenise a text.

        text (str): Any text; the Doc's text is the same to the character. Only a lone surrogate,
            which no Doc can hold, becomes U+FFFD, with a warning (JW020): positions stay as they
            are, and a stream of texts goes on.
        RAISES: ValueError J096 if a damaged dictionary makes Sudachi panic.
        RETURNS (Doc): The Doc. In split modes B and C, user_data["sub_tokens"] tells for each token
            how the shorter modes cut it.
        """
        make = self._words if self.attributes == "words" else self._tokens
        try:
            return make(text)
        except UnicodeEncodeError:
            half = _HALVES.search(text)
            if half is None:
                raise
            around = text[max(half.start() - 5, 0) : half.end() + 5]
            logger.warning(Warnings.JW020.format(position=half.start(), around=around))
            return make(_HALVES.sub("\ufffd", text))
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # Rust's, which no module exports
                raise
            files = ", ".join(map(str, self.dictionaries.files.values())) or self.dictionaries.name
            raise ValueError(
                Errors.J096.format(length=len(text), reason=error, files=files)
            ) from error

    def _words(self, text: str) -> Doc:
        self._follow_zone()
        surfaces = [surface for found, _ in self._stretches(text) for surface in found]
        words, spaces, _ = _separate(text, surfaces)
        # Ids, for of a string spaCy would work out the hash each time.
        orths = list(map(self._rows.get, words))
        if not all(orths):
            orths = [
                orth or self._keep(word, self.vocab.strings.add(word))
                for orth, word in zip(orths, words, strict=True)
            ]
        return Doc(self.vocab, words=orths, spaces=spaces)

    def _tokens(self, text: str) -> Doc:
        self._follow_zone()
        surfaces: list[str] = []
        rows: list[_Row] = []
        for found, morphemes in self._stretches(text):
            surfaces += found
            rows += self._look_up(found, morphemes)
        words, spaces, order = _separate(text, surfaces)
        if order is not None:
            rows = [
                self._gap(word) if i < 0 else rows[i] for word, i in zip(words, order, strict=True)
            ]
        doc = Doc(self.vocab, words=[row.orth for row in rows], spaces=spaces)
        # One loop over all tokens: `Doc.from_array` would look up each morph again.
        given = None
        next_tags = [row.tag for row in rows[1:]]
        next_tags.append(0)
        for token, (_, tag, pos, lemma, norm, morph, rules, _), next_tag in zip(
            doc, rows, next_tags, strict=False
        ):
            token.tag = tag
            token.lemma = lemma
            token.morph = morph
            if norm is not None:
                token.norm_ = norm
            if given is not None:
                pos, given = given, None
            elif rules is not None and next_tag in rules:
                changed, given = rules[next_tag]
                pos = pos if changed is None else changed
            token.pos = pos
        if self._needs_sub_tokens:
            doc.user_data["sub_tokens"] = [
                None if row.sub_tokens is None else list(map(list, row.sub_tokens)) for row in rows
            ]
        return doc

    @property
    def _needs_sub_tokens(self) -> bool:
        return self.split_mode in ("B", "C")

    # --- Sudachi ----------------------------------------------------------------------------------

    def _sudachi(self) -> Sudachi:
        """This thread's own."""
        local = self._local
        if not hasattr(local, "sudachi"):
            with self._lock:
                self._dictionary = self._dictionary or self.dictionaries.open()
            fields = _WORD_FIELDS if self.attributes == "words" else None
            local.sudachi = self._dictionary.tokenizer(
                _MODES[self.split_mode], fields, projection="surface"
            )
        return local.sudachi

    def _stretches(self, text: str) -> Iterator[tuple[list[str], Sequence[Morpheme]]]:
        """Analyse a text, in several stretches if Sudachi can't take it whole.

        YIELDS (tuple[list[str], Sequence[Morpheme]]): Surfaces, which together are the text, and as
            many morphemes, or more.
        """
        sudachi = self._sudachi()
        start, size = 0, min(len(text), _MAX_BYTES)
        while start < len(text):
            stretch = _with_few_numbers(text[start : start + size])
            try:
                morphemes = sudachi.tokenize(stretch)
            except SudachiError:
                if len(stretch) == 1:
                    raise
                size = len(stretch) // 2
                continue
            # One call for all surfaces, with spaces between them: right where the text itself has
            # none.
            surfaces = str(morphemes).split(" ")
            if len(surfaces) != len(morphemes):
                surfaces = [morpheme.surface() for morpheme in morphemes]
            start += len(stretch)
            if start < len(text):
                kept = _finished(surfaces)
                start -= sum(map(len, surfaces[kept:]))
                surfaces = surfaces[:kept]
            yield surfaces, morphemes

    # --- Rows -------------------------------------------------------------------------------------

    def _look_up(self, surfaces: list[str], morphemes: Sequence[Morpheme]) -> list[_Row]:
        """The row of each morpheme."""
        keys = list(zip(surfaces, [morpheme.word_id() for morpheme in morphemes], strict=False))
        rows: list[Any] = list(map(self._rows.get, keys))
        if None in rows:
            rows = [
                self._new(key, morphemes[i]) if row is None else row
                for i, (key, row) in enumerate(zip(keys, rows, strict=True))
            ]
        return rows

    def _new(self, key: tuple[str, int], morpheme: Morpheme) -> _Row:
        """The row of a morpheme that wasn't found by its key alone."""
        if key[1] < _FIRST_OOV_ID:
            return self._add(key, _detailed(morpheme), morpheme)
        # A joined number has the id of all numbers, and the same one can be read in several ways.
        forms = morpheme.reading_form(), morpheme.normalized_form(), morpheme.dictionary_form()
        return self._rows.get((*key, forms)) or self._add(
            (*key, forms), _detailed(morpheme), morpheme
        )

    def _gap(self, space: str) -> _Row:
        """The row of white space, for which there is no single morpheme."""
        return self._rows.get(space) or self._add(
            space, DetailedToken(space, _GAP_TAG, "", space, space, None, None)
        )

    def _add(self, key: Hashable, token: DetailedToken, morpheme: Morpheme | None = None) -> _Row:
        strings = self.vocab.strings
        special = TAG_ORTH_MAP.get(token.tag, {}).get(token.surface)
        rules = None if special is not None else _RULES.get(token.tag)
        features = {}
        if token.inf:
            features["Inflection"] = token.inf
        if token.reading:
            features["Reading"] = token.reading.replace("=", "_").replace("|", "_")
        row = _Row(
            strings.add(token.surface),
            strings.add(token.tag),
            # A user dictionary can bring parts of speech of its own.
            TAG_MAP.get(token.tag, {POS: X})[POS] if special is None else special,
            strings.add(token.lemma or token.surface),
            None if self.vocab[token.surface].norm_ == token.norm else token.norm,
            MorphAnalysis(self.vocab, features),
            None if rules is None else {strings[tag]: found for tag, found in rules.items()},
            self._sub_tokens(morpheme) if self._needs_sub_tokens and morpheme is not None else None,
        )
        return self._keep(key, row)

    def _keep(self, key: Hashable, value: _T) -> _T:
        with self._lock:
            if len(self._rows) >= _CACHE_SIZE:
                # Other threads go on with the old ones.
                self._rows, self._before_zone = {}, None if self._before_zone is None else 0
            self._rows[key] = value
        return value

    def _sub_tokens(self, morpheme: Morpheme) -> SubTokens:
        # As spaCy has it: with SudachiPy 0.7, which gives no parts for a word that can't be cut,
        # that is no parts instead of None.
        short, middle = morpheme.split(SplitMode.A), morpheme.split(SplitMode.B)
        if len(short) == 1:
            return None
        if self.split_mode == "B":
            return (_parts(short),)
        return _parts(short), _parts(short if len(short) == len(middle) else middle)

    def _follow_zone(self) -> None:
        """Forget the rows of a memory zone that has ended: the strings of their ids are gone."""
        # spaCy's type stubs know neither `in_memory_zone` nor `allow_transient`.
        strings: Any = self.vocab.strings
        in_zone: bool = self.vocab.in_memory_zone  # type: ignore[attr-defined]
        if self._zone_mark in strings if in_zone else self._before_zone is None:
            return
        with self._lock:
            if self._before_zone is not None:
                for key in list(islice(reversed(self._rows), len(self._rows) - self._before_zone)):
                    del self._rows[key]
                self._before_zone = None
            if in_zone:
                self._before_zone = len(self._rows)
                strings.add(self._zone_mark, allow_transient=True)

    # --- What spaCy asks of a tokenizer -----------------------------------------------------------

    def score(self, examples: Iterable[Example]) -> dict[str, Any]:
        """How well the words agree with those of the references."""
        validate_examples(examples, "SudachiTokenizer.score")
        return Scorer.score_tokenization(examples)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (self.vocab, self.to_bytes())

    def _get_config(self) -> dict[str, Any]:
        found = self.dictionaries
        return {
            "split_mode": self.split_mode,
            "attributes": self.attributes,
            "dict": found.name,
            "config": found.settings,
            "files": found.digests(),
        }

    def to_bytes(self, **kwargs: Any) -> bytes:
        """The settings and the content of the dictionaries that no package installs."""
        write = {
            "cfg": lambda: srsly.json_dumps(self._get_config()),
            "files": self.dictionaries.contents,
        }
        return util.to_bytes(write, ())

    def from_bytes(self, data: bytes, **kwargs: Any) -> "SudachiTokenizer":
        """Load what `to_bytes` gave.

        RAISES: ValueError as `from_disk`.
        """
        with _whole("bytes"):
            found = srsly.msgpack_loads(data)
            cfg, files = srsly.json_loads(found["cfg"]), dict(found["files"])
        return self._load(cfg, UnpackedFiles(files) if files else {})

    def to_disk(self, path: str | Path, **kwargs: Any) -> None:
        """Save the settings in a folder, with the dictionaries that no package installs."""
        write = {
            "cfg": lambda p: srsly.write_json(p, self._get_config()),
            "files": self.dictionaries.to_disk,
        }
        util.to_disk(Path(path), write, ())

    def from_disk(self, path: str | Path, **kwargs: Any) -> "SudachiTokenizer":
        """Load what `to_disk` wrote. The files are read from where they are.

        RAISES: ValueError J026 to J029 for what a saved tokenizer must not hold, and for damage.
        """
        files = Path(path) / "files"
        with _whole(path):
            cfg = srsly.read_json(Path(path) / "cfg")
        if not files.exists():
            recover(files)
        return self._load(cfg, files_in(files))

    def _load(self, cfg: Any, files: dict[str, Path]) -> "SudachiTokenizer":
        with _whole("cfg"):
            split_mode, attributes = cfg["split_mode"], cfg["attributes"]
            name, settings = cfg["dict"], cfg["config"]
            # Pipelines of before 0.1.0 have none.
            digests = cfg.get("files")
        dictionaries = Dictionaries(name, settings, files)
        if digests is not None and digests != dictionaries.digests():
            raise ValueError(
                Errors.J029.format(
                    source=", ".join(map(str, files.values())) or "files",
                    reason="these are not the dictionaries that were saved.",
                )
            )
        self._open(split_mode, attributes, dictionaries)
        return self


@contextmanager
def _whole(source: str | Path) -> Iterator[None]:
    """What can't be read is damaged."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(Errors.J029.format(source=source, reason=reason)) from error


def _unpickle(vocab: Vocab, data: bytes) -> SudachiTokenizer:
    return SudachiTokenizer(vocab).from_bytes(data)


def _with_few_numbers(stretch: str) -> str:
    """As much of a stretch as has no more numbers than Sudachi joins in little time."""
    if len(stretch) <= _MOST_NUMBERS:
        return stretch
    number = next(islice(_NUMBERS.finditer(stretch), _MOST_NUMBERS, None), None)
    return stretch if number is None else stretch[: number.start()]


def _finished(surfaces: list[str]) -> int:
    """How many tokens of a stretch to keep if the text goes on: up to the last end of a sentence,
    else all but the last few.

    They are half of its characters at least, be it that a token is cut. So no text, whatever its
    tokens are like, is given to Sudachi more than twice.
    """
    ends = list(accumulate(map(len, surfaces)))
    least = bisect_left(ends, ends[-1] / 2) + 1
    for kept in range(len(surfaces) - 1, least - 1, -1):
        if surfaces[kept - 1][-1:] in _SENTENCE_ENDS:
            return kept
    return max(len(surfaces) - _MARGIN, least)


def _separate(text: str, surfaces: list[str]) -> tuple[list[str], list[bool], list[int] | None]:
    """Make words of surfaces: one space behind a word belongs to it, and what other white space
    there is between two becomes a word.

    RETURNS (tuple[list[str], list[bool], list[int] | None]): The words, whether a space follows,
        and which surface each word is, -1 for white space; None in place of that if each surface is
        a word.
    """
    if all(surfaces) and text.split() == [text]:
        return surfaces, [False] * len(surfaces), None
    words: list[str] = []
    order: list[int] = []
    spaced: list[int] = []
    gap: list[str] = []
    start = 0
    blank = [i for i, surface in enumerate(surfaces) if not surface or surface.isspace()]
    for end in [*blank, len(surfaces)]:
        # From one white space to the next.
        if start < end or end == len(surfaces):
            if gap and words and gap[0] == " ":
                spaced.append(len(words) - 1)
                del gap[0]
            if gap:
                words.append("".join(gap))
                order.append(-1)
                gap = []
            words += surfaces[start:end]
            order += range(start, end)
        gap += filter(None, surfaces[end : end + 1])
        start = end + 1
    spaces = [False] * len(words)
    for i in spaced:
        spaces[i] = True
    return words, spaces, order


def _detailed(morpheme: Morpheme) -> DetailedToken:
    part_of_speech = morpheme.part_of_speech()
    return DetailedToken(
        morpheme.surface(),
        "-".join(part for part in part_of_speech[:4] if part != "*"),
        ";".join(part for part in part_of_speech[4:] if part != "*"),
        morpheme.dictionary_form(),
        morpheme.normalized_form(),
        morpheme.reading_form(),
        None,
    )


def _parts(morphemes: Iterable[Morpheme]) -> tuple[DetailedToken, ...]:
    return tuple(_detailed(part) for part in morphemes if part.surface())
