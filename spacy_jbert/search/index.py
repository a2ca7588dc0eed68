"""An index of texts: their vectors and words in a folder, with the identity of the pipeline that
made them.

    texts = ["一つ目の文書。", Entry("b", "二つ目の文書。", {"url": "…"})]
    index = Index.build(nlp, texts, "faq.index")
    index = Index.load("faq.index", nlp)
    for hit in index.search("質問", n=5):
        print(hit.score, hit.id, hit.text)

In the folder: `index.json` (identity, settings, sizes), `vectors.f32` (a row of length 1 a text),
`entries.jsonl` (id, text and meta a line; where each begins is in `entries.i64`), the words of
`words.py`, and the graph of `nearest.py` where there are many. Everything but the vocabulary of
words and the ids stays on disk while an index is written, and is mapped when it is read.
"""

import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import minibatch
from tqdm import tqdm

from ..corpora.values import is_whole, json_line
from ..errors import DataError, Errors
from ..pipeline.vectors import VECTOR, reading
from ..storage import alone, readable, replacing, replacing_folder, require_replaceable
from .identity import identity, name_of, transformer_of
from .nearest import Graph, Vectors, has_graph, nearest, write_graph
from .words import Terms, Words, WordsWriter, has_bm25, missing_bm25

logger = logging.getLogger(__name__)

By = Literal["vectors", "words", "hybrid"]
"""What a search goes by: the nearest vectors, BM25, or both."""

_FORMAT = 1
_ABOUT, _VECTORS, _ENTRIES, _BEGINS = "index.json", "vectors.f32", "entries.jsonl", "entries.i64"
# Reciprocal rank fusion (Cormack et al. 2009, "Reciprocal rank fusion outperforms Condorcet"):
# their constant, and how many of each list take part.
_RRF = 60
_FUSED = 100
# Queries that are compared at once.
_TOGETHER = 64


class Entry(NamedTuple):
    """A text of an index.

    id: Its name, of which there is one; "" for its number.
    meta: What comes back with it: anything that JSON can hold.
    """

    id: str
    text: str
    meta: Mapping[str, Any] = MappingProxyType({})


class Hit(NamedTuple):
    """A text that was found.

    score: The cosine, BM25, or of both the fused ranks: comparable within one search only.
    """

    id: str
    text: str
    score: float
    meta: Mapping[str, Any]


class Index:
    """An index that is open for searching. See `build` and `load`.

    folder (Path): Where it lies.
    nlp (Language): The pipeline that made it.
    """

    def __init__(self, folder: Path, nlp: Language, about: dict[str, Any]) -> None:
        self.folder, self.nlp = folder, nlp
        self.words: bool = about["words"]
        self.stop_words: list[str] | None = about["stop_words"]
        self._open(about)

    def _open(self, about: dict[str, Any]) -> None:
        shape = about["count"], about["width"]
        folder = readable(self.folder)
        self._vectors: Vectors = np.memmap(folder / _VECTORS, np.float32, "r", shape=shape)
        self._begins = np.fromfile(folder / _BEGINS, dtype=np.int64)
        self._entries = np.memmap(folder / _ENTRIES, np.uint8, "r")
        self._graph = Graph(folder, self._vectors) if has_graph(folder) else None
        # Not later: another index may lie there by then.
        self._words = Words(folder) if self.words and has_bm25() else None
        self._temporary: TemporaryDirectory[str] | None = None

    @classmethod
    def build(
        cls,
        nlp: Language,
        texts: Iterable[Entry | str],
        path: str | Path | None = None,
        *,
        words: bool = True,
        stop_words: list[str] | None = None,
        batch_size: int = 256,
    ) -> "Index":
        """Make an index.

        nlp (Language): A pipeline whose transformer has `spacy-jbert.doc_vectors.v1`.
        texts (Iterable[Entry | str]): Are read once, and not kept in memory.
        path (str | Path | None): A folder; an index that is there already is replaced when the new
            one is complete. None: a temporary one, which goes with the index.
        words (bool): For search by words too.
        stop_words (list[str] | None): See `Terms`.
        batch_size (int): As in `nlp.pipe`.
        RETURNS (Index): The index, open.
        RAISES: ValueError J510 if the pipeline gives no vectors, J513 for an empty text or an id
            that is there already, J514 where there is no text, J516 while another process writes
            it; FileExistsError J519 for a folder of something else; ImportError J469.
        """
        temporary = TemporaryDirectory(prefix="jbert-index-") if path is None else None
        folder = Path(path or "") if temporary is None else Path(temporary.name) / "index"
        settings = {"words": words, "stop_words": stop_words}
        about, _ = _write(nlp, texts, folder, settings, batch_size)
        index = cls(folder, nlp, about)
        index._temporary = temporary
        return index

    @classmethod
    def load(cls, path: str | Path, nlp: Language) -> "Index":
        """Open an index.

        RAISES: DataError J511 if it isn't one, or not whole, J512 if another pipeline made it.
        """
        about = _about(Path(path), nlp)
        return cls(Path(path), nlp, about)

    def add(self, texts: Iterable[Entry | str], *, batch_size: int = 256) -> int:
        """Add texts, also to what others have added meanwhile. The folder is replaced when all of
        them are in.

        RETURNS (int): How many.
        RAISES: As `build`, and J511, J512 if another index is there now.
        """
        temporary = self._temporary
        about, added = _write(self.nlp, texts, self.folder, None, batch_size)
        self.words, self.stop_words = about["words"], about["stop_words"]
        self._open(about)
        self._temporary = temporary
        return added

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, row: int) -> Entry:
        """RETURNS (Entry): The text at a place, in the order in which they came.

        RAISES: IndexError.
        """
        if not 0 <= row < len(self):
            raise IndexError(row)
        end = self._begins[row + 1] if row + 1 < len(self._begins) else len(self._entries)
        return Entry(*json.loads(self._entries[self._begins[row] : end].tobytes()))

    def ids(self) -> Iterator[str]:
        """YIELDS (str): The ids of all texts, in order."""
        for row in range(len(self)):
            yield self[row].id

    def vector(self, row: int) -> Vectors:
        """RETURNS (NDArray): Of the text at a place, of length 1. *Shape:* `(width,)`."""
        return np.array(self._vectors[row])

    def search(
        self, query: str, n: int = 10, *, by: By | None = None, weight: float = 0.5
    ) -> list[Hit]:
        """Find the texts that fit a query best.

        n (int): How many.
        by (str | None): "vectors", "words" or "hybrid"; None: hybrid if the index has words.
        weight (float): Of vectors, in "hybrid"; words have the rest.
        RETURNS (list[Hit]): The best first. By words, only those that share one.
        RAISES: ValueError J515.
        """
        return self.search_many([query], n, by=by, weight=weight)[0]

    def search_many(
        self, queries: Sequence[str], n: int = 10, *, by: By | None = None, weight: float = 0.5
    ) -> list[list[Hit]]:
        """The same for many queries, which is faster.

        RETURNS (list): The hits of each.
        """
        by = by or ("hybrid" if self.words else "vectors")
        queries = list(queries)
        self._check(queries, n, by, weight)
        return self.search_docs(self.nlp.pipe(queries), n, by=by, weight=weight)

    def search_docs(
        self, docs: Iterable[Doc], n: int = 10, *, by: By | None = None, weight: float = 0.5
    ) -> list[list[Hit]]:
        """The same for queries that the pipeline has annotated already."""
        by = by or ("hybrid" if self.words else "vectors")
        self._check([], n, by, weight)
        found: list[list[Hit]] = []
        for batch in minibatch(docs, _TOGETHER):
            found += self._found(batch, n, by, weight)
        return found

    def like(self, row: int, n: int = 10) -> list[Hit]:
        """RETURNS (list[Hit]): The texts whose vectors are nearest to that of the text at a place,
        itself left out.

        RAISES: IndexError.
        """
        if not 0 <= row < len(self):
            raise IndexError(row)
        rows, cosines = self._nearest(self.vector(row)[None], n + 1)
        pairs = zip(rows[0].tolist(), cosines[0].tolist(), strict=True)
        return [self._hit(other, score) for other, score in pairs if other != row][:n]

    def nearest(self, vectors: Vectors, n: int = 10) -> list[list[Hit]]:
        """The same for vectors of your own, such as the mean of what somebody liked.

        vectors (NDArray): *Shape:* `(n_queries, width)`.
        RAISES: ValueError J515.
        """
        self._check([], n, "vectors", 1.0)
        width = self._vectors.shape[1]
        if vectors.ndim != 2 or vectors.shape[1] != width or not np.isfinite(vectors).all():
            reason = f"It has to be finite numbers of shape (n_queries, {width})."
            value = f"an array of shape {vectors.shape}"
            raise ValueError(Errors.J515.format(name="vectors", value=value, reason=reason))
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = (vectors / np.maximum(length, 1e-12)).astype(np.float32)
        found = zip(*self._nearest(unit, n), strict=True)
        return [
            [self._hit(int(row), float(score)) for row, score in zip(rows, cosines, strict=True)]
            for rows, cosines in found
        ]

    def _check(self, queries: Sequence[str], n: int, by: By, weight: float) -> None:
        """RAISES: ValueError J515."""
        if not is_whole(n) or n < 1:
            reason = "It has to be a whole number from 1 on."
            raise ValueError(Errors.J515.format(name="n", value=n, reason=reason))
        if by not in ("vectors", "words", "hybrid") or (by != "vectors" and not self.words):
            has = "vectors, words and hybrid" if self.words else "vectors"
            reason = f"This index can be searched by {has}."
            raise ValueError(Errors.J515.format(name="by", value=by, reason=reason))
        if not 0.0 <= weight <= 1.0:
            reason = "It has to be from 0 to 1."
            raise ValueError(Errors.J515.format(name="weight", value=weight, reason=reason))
        if any(not isinstance(query, str) or not query.strip() for query in queries):
            reason = "There is no text in it."
            raise ValueError(Errors.J515.format(name="query", value="", reason=reason))

    def _found(self, docs: list[Doc], n: int, by: By, weight: float) -> list[list[Hit]]:
        depth = n if by != "hybrid" else max(n, _FUSED)
        ranked: list[list[tuple[int, float]]] = [[] for _ in docs]
        if by != "words":
            found = zip(*self._nearest(_vectors(docs), depth), strict=True)
            ranked = [list(zip(*(side.tolist() for side in sides), strict=True)) for sides in found]
        if by != "vectors":
            by_words = [self._by_words(doc, depth) for doc in docs]
            pairs = zip(ranked, by_words, strict=True)
            ranked = [_fused(*both, weight) if by == "hybrid" else both[1] for both in pairs]
        return [[self._hit(row, score) for row, score in best[:n]] for best in ranked]

    def _nearest(self, queries: Vectors, n: int) -> tuple[NDArray[np.int64], Vectors]:
        if self._graph is not None:
            return self._graph.nearest(queries, n)
        return nearest(queries, self._vectors, n)

    def _by_words(self, doc: Doc, n: int) -> list[tuple[int, float]]:
        if self._words is None:
            raise missing_bm25()
        scores = self._words.scores(Terms(self.stop_words)(doc))
        some = np.flatnonzero(scores)
        best = some[np.argsort(-scores[some], kind="stable")[:n]]
        return list(zip(best.tolist(), scores[best].tolist(), strict=True))

    def _hit(self, row: int, score: float) -> Hit:
        entry = self[row]
        return Hit(entry.id, entry.text, score, entry.meta)


def _fused(
    one: list[tuple[int, float]], other: list[tuple[int, float]], weight: float
) -> list[tuple[int, float]]:
    """Fuse two rankings by the reciprocals of their ranks."""
    fused: dict[int, float] = {}
    for share, ranking in ((weight, one), (1.0 - weight, other)):
        for rank, (row, _) in enumerate(ranking, 1):
            if share:
                fused[row] = fused.get(row, 0.0) + share / (_RRF + rank)
    return sorted(fused.items(), key=lambda pair: (-pair[1], pair[0]))


def _vectors(docs: Sequence[Doc]) -> Vectors:
    """RETURNS (NDArray): Of length 1, 0 of white space. *Shape:* `(n_docs, width)`.

    RAISES: ValueError J509 for a Doc that has none.
    """
    found = [doc._.get(VECTOR) if Doc.has_extension(VECTOR) else None for doc in docs]
    if any(vector is None for vector in found):
        raise ValueError(Errors.J509)
    vectors = np.stack(cast(list[Vectors], found))
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _about(path: Path, nlp: Language) -> dict[str, Any]:
    """RETURNS (dict[str, Any]): What `index.json` says.

    RAISES: DataError J511, J512.
    """
    folder = readable(path)
    try:
        about = json.loads((folder / _ABOUT).read_bytes())
        sizes = {name: (folder / name).stat().st_size for name in about["files"]}
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(Errors.J511.format(reason=reason), path=path) from error
    if about.get("format") != _FORMAT:
        raise DataError(Errors.J511.format(reason="another version wrote it"), path=path)
    if damaged := [name for name, size in about["files"].items() if size != sizes[name]]:
        raise DataError(Errors.J511.format(reason=f"{damaged[0]} is not whole"), path=path)
    if about["identity"] != identity(nlp):
        raise DataError(Errors.J512.format(name=about["pipeline"]), path=path)
    return cast(dict[str, Any], about)


def _write(
    nlp: Language,
    texts: Iterable[Entry | str],
    path: Path,
    settings: dict[str, Any] | None,
    batch_size: int,
) -> tuple[dict[str, Any], int]:
    """Write an index.

    settings (dict[str, Any] | None): Of a new one; None: that which is there, with more texts.
    RETURNS (tuple): What `index.json` says, and how many texts were added.
    """
    transformer = transformer_of(nlp)
    assert transformer.vectors is not None
    path = path.resolve()
    refusal = ValueError(Errors.J516.format(path=path))
    with ExitStack() as stack:
        stack.enter_context(alone(path.with_name(f".{path.name}.lock"), refusal))
        require_replaceable(path, _ABOUT, "index of texts")
        known: set[str] = set()
        old = None
        if settings is None:
            # What is there now, which may not be what was there when somebody opened it.
            now, old = Index.load(path, nlp), path
            known, settings = set(now.ids()), {"words": now.words, "stop_words": now.stop_words}
        before = len(known)
        folder = stack.enter_context(replacing_folder(path))
        writer = WordsWriter(folder, old) if settings["words"] else None
        for name in (_VECTORS, _ENTRIES, _BEGINS):
            if old is not None:
                shutil.copyfile(old / name, folder / name)
        files = {
            name: stack.enter_context((folder / name).open("ab"))
            for name in (_VECTORS, _ENTRIES, _BEGINS)
        }
        stack.enter_context(reading(transformer, transformer.vectors.index_prefix))
        entries = _checked(texts, known, nlp.max_length)
        pairs = nlp.pipe(
            ((entry.text, entry) for entry in entries), as_tuples=True, batch_size=batch_size
        )
        terms = Terms(settings["stop_words"])
        bar = tqdm(desc="Indexing", unit=" texts", delay=2)
        for batch in minibatch(pairs, batch_size):
            docs = [doc for doc, _ in batch]
            _vectors(docs).astype(np.float32).tofile(files[_VECTORS])
            for _, entry in batch:
                line = json_line([*entry[:2], dict(entry.meta)])
                np.array([files[_ENTRIES].tell()], dtype=np.int64).tofile(files[_BEGINS])
                files[_ENTRIES].write(line)
            if writer is not None:
                writer.add(map(terms, docs))
            bar.update(len(batch))
        bar.close()
        for file in files.values():
            file.flush()
        n_texts, width = len(known), transformer.encoder.width
        if not n_texts:
            raise ValueError(Errors.J514)
        if writer is not None:
            writer.finish()
        write_graph(np.memmap(folder / _VECTORS, np.float32, "r", shape=(n_texts, width)), folder)
        about = {
            "format": _FORMAT,
            "identity": identity(nlp),
            "pipeline": name_of(nlp),
            "count": n_texts,
            "width": width,
            **settings,
            "files": {
                file.relative_to(folder).as_posix(): file.stat().st_size
                for file in sorted(folder.rglob("*"))
                if file.is_file()
            },
        }
        with replacing(folder / _ABOUT) as (new,):
            new.write_text(json.dumps(about, ensure_ascii=False, indent=1), encoding="utf-8")
    return about, n_texts - before


def _checked(texts: Iterable[Entry | str], known: set[str], longest: int) -> Iterator[Entry]:
    """YIELDS (Entry): Each with an id, which is then known, and no more than `longest` characters.

    RAISES: ValueError J513.
    """
    for text in texts:
        entry = text if isinstance(text, Entry) else Entry("", text)
        free = (name for name in map(str, count(len(known))) if name not in known)
        entry = entry._replace(id=str(entry.id) or next(free))
        if not isinstance(entry.text, str) or not entry.text.strip():
            raise ValueError(Errors.J513.format(id=entry.id, reason="it has no text"))
        if len(entry.text) > longest:
            reason = f"it has {len(entry.text)} characters, and the pipeline takes {longest}"
            raise ValueError(Errors.J513.format(id=entry.id, reason=reason))
        if entry.id in known:
            reason = "there is another with this id. Each needs one of its own"
            raise ValueError(Errors.J513.format(id=entry.id, reason=reason))
        known.add(entry.id)
        yield entry
