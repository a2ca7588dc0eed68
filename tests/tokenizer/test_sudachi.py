"""The tokenizer makes the Docs that spaCy's own makes, and those that it can't."""

import json
import lzma
import multiprocessing
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import spacy
import sudachidict_core
import sudachipy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from spacy.lang.ja import JapaneseTokenizer
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from sudachipy.sudachipy import build_user_dic

from spacy_jbert.packaging import portable
from spacy_jbert.tokenizer import sudachi as module
from spacy_jbert.tokenizer.dictionaries import Dictionaries
from spacy_jbert.tokenizer.sudachi import SudachiTokenizer

from ..conftest import SENTENCES, SHARED

SYSTEM = Path(sudachidict_core.__file__).parent / "resources" / "system.dic"
MODES = [None, "A", "B", "C"]
ODD = [
    *[
        "",
        " ",
        "\u3000 \n",
        "a b  c",
        " 東京 ",
        "東京 \u3000都\n\n",
        "\x85\x1c",
        "\0",
        "a\0b",
        "\u200b",
        "…",
        "㍿㌖…。",
        "ﷺ",
        "İıſß",
    ],
    *[
        "ｶﾞｷﾞ ﾊﾟ",
        "か\u3099き\u3099",
        "👨‍👩‍👧‍👦と🇯🇵",
        "𠮷野家と鷗外",
        "人々は時々",
        "東京(とうきょう)",
        "ーーーー〜〜",
        "１２ 月",
    ],
    *[
        "00",
        "百二十三人と1,000円、３．１４",
        "勉強し、きれいですね。たりたりする。",
        "この本のある人",
        "先に行ってはいけない。",
    ],
    *["国家公務員だ", "https://example.com/a?b=c|d"],
]


def facts(doc: Doc) -> tuple[Any, ...]:
    tokens = [
        (
            t.text,
            t.whitespace_,
            t.tag_,
            t.pos_,
            t.lemma_,
            t.norm_,
            str(t.morph),
            t.idx,
            t.is_sent_start,
        )
        for t in doc
    ]
    return doc.text, tokens, doc.user_data, doc.has_unknown_spaces


@cache
def both(split_mode: str | None) -> tuple[SudachiTokenizer, JapaneseTokenizer]:
    """Ours and spaCy's, with a vocabulary each."""
    return SudachiTokenizer(spacy.blank("ja").vocab, split_mode), JapaneseTokenizer(
        spacy.blank("ja").vocab, split_mode
    )


@cache
def only_words() -> SudachiTokenizer:
    return SudachiTokenizer(spacy.blank("ja").vocab, "A", attributes="words")


def words(doc: Doc) -> list[str]:
    return [token.text_with_ws for token in doc]


def check(text: str, split_mode: str | None) -> None:
    ours, stock = both(split_mode)
    expected = facts(stock(text))
    assert facts(ours(text)) == expected  # worked out
    assert facts(ours(text)) == expected  # looked up


@pytest.mark.parametrize("split_mode", MODES)
@pytest.mark.parametrize("text", [*ODD, *SENTENCES, "\n".join(SENTENCES)], ids=ascii)
def test_same_docs_as_spacy(text: str, split_mode: str | None) -> None:
    check(text, split_mode)


PIECES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.text(st.sampled_from(" \u3000\n\t\x0b\x1c\x85\xa0\u2028\ufeff\u200b\0"), max_size=4),
    st.text(
        st.sampled_from("㍿㍻ﷺ㌖①ｶﾞﾊﾟﬁⅧ²ー〜々\u3099\u309a\u0301\u200d\ufe0f👨👩🇯🇵🏽"), max_size=6
    ),
    st.sampled_from([*ODD, *SENTENCES]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=5).map("".join), st.sampled_from(MODES))
@example("する ", "A")
def test_same_docs_for_any_text(text: str, split_mode: str | None) -> None:
    check(text, split_mode)
    assert words(only_words()(text)) == words(both("A")[1](text))


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("split_mode", ["A", "B", "C"])
def test_same_docs_for_real_text(split_mode: str) -> None:
    files = sorted((SHARED / "corpora" / "pretrain").glob("*.txt.xz"))
    if not files:
        pytest.skip("../shared/corpora is not here")
    for file in files:
        with lzma.open(file, "rt", encoding="utf-8") as stream:
            text = stream.read(250_000)
        # Lines, and several at once, so that long texts and line ends are among them.
        for start in range(0, len(text), 4000):
            stretch = text[start : start + 4000]
            for part in (
                [*stretch.splitlines(), stretch] if start % 16_000 == 0 else stretch.splitlines()
            ):
                ours, stock = both(split_mode)
                assert facts(ours(part)) == facts(stock(part)), part


def test_words_alone() -> None:
    doc = only_words()("東京都へ 行く。")
    assert words(doc) == ["東京", "都", "へ ", "行く", "。"]
    assert not any(doc.has_annotation(name) for name in ("TAG", "POS", "LEMMA", "MORPH"))


# --- Long texts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "あ" * 40_000,
        "㍻" * 12_287,
        "ﷺ㌖" * 9000,
        "🍣" * 30_000,
        "ー" * 100_000,
        " " * 60_000,
        "東京 " * 30_000,
        "a" * 60_000,
    ],
    ids=lambda text: f"{text[:3]} x {len(text)}",
)
def test_texts_longer_than_sudachi_takes(text: str) -> None:
    doc = both("C")[0](text)
    assert doc.text == text
    assert words(only_words()(text)) == words(both("A")[0](text))


@pytest.mark.parametrize("between", ["", "\n", " "])
def test_long_texts_have_the_tokens_of_their_sentences(between: str) -> None:
    ours, stock = both("C")
    sentence = "国家公務員は 百二十三人で、1,000円を東京(とうきょう)で払った。" + between
    expected = [(t.text_with_ws, t.tag_, t.pos_, str(t.morph)) for t in stock(sentence * 20)]
    tokens = [(t.text_with_ws, t.tag_, t.pos_, str(t.morph)) for t in ours(sentence * 2000)]
    if between == " ":  # the last one of all is alone
        assert len(tokens) == 100 * len(expected)
    assert tokens[: len(expected)] == expected
    assert tokens == tokens[: len(tokens) // 2000] * 2000


def test_without_sentence_ends_cuts_show_nowhere() -> None:
    part = "すもももももももものうちで国家公務員と東京都庁へ行き"
    tokens = words(both("A")[0](part * 3000))
    assert tokens == words(both("A")[1](part)) * 3000


def test_long_text_takes_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each character is given to Sudachi about once."""
    given: list[int] = []
    ours = SudachiTokenizer(spacy.blank("ja").vocab, "A", attributes="words")
    sudachi = ours._sudachi()

    class Counting:
        def tokenize(self, text: str) -> Any:
            given.append(len(text))
            return sudachi.tokenize(text)

    monkeypatch.setattr(ours, "_sudachi", Counting)
    for text in ("これは文です。" * 30_000, "これは文ですと" * 30_000, "㍻ﷺ" * 20_000):
        given.clear()
        assert ours(text).text == text
        assert sum(given) < 1.5 * len(text) + 100_000


# --- Threads, processes, memory -------------------------------------------------------------------


def test_threads_make_the_same_docs() -> None:
    texts = [text * 20 for text in (*SENTENCES, *ODD)]
    ours = SudachiTokenizer(spacy.blank("ja").vocab, "C")
    expected = [facts(both("C")[0](text)) for text in texts]
    found: dict[int, list[Any]] = {}

    def work(number: int) -> None:
        found[number] = [facts(ours(text)) for text in texts]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(8)] == [expected] * 8


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_processes(method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    # The start method is the process's own, so it is set in a new one.
    code = """
import multiprocessing, sys, spacy
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"@tokenizers": "spacy-jbert.SudachiTokenizer.v1", "split_mode": "A"}}})
    print([token.tag_ for doc in nlp.pipe(["東京都へ", "行く。"] * 3, n_process=2, batch_size=2) for token in doc])
"""
    run = subprocess.run([sys.executable, "-c", code, method], capture_output=True, text=True)
    tags = [token.tag_ for text in ["東京都へ", "行く。"] * 3 for token in both("A")[1](text)]
    assert run.stdout.strip() == str(tags), run.stderr


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CACHE_SIZE", 64)
    ours = SudachiTokenizer(spacy.blank("ja").vocab, "C")
    for text in (*SENTENCES, *ODD) * 2:
        assert facts(ours(text)) == facts(both("C")[1](text))
        assert len(ours._rows) <= 64


def test_memory_for_words_alone_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CACHE_SIZE", 64)
    ours = SudachiTokenizer(spacy.blank("ja").vocab, attributes="words")
    for text in (*SENTENCES, *ODD) * 2:
        assert words(ours(text)) == words(both("A")[1](text))
        assert len(ours._rows) <= 64


@pytest.fixture
def nlp() -> Language:
    return make_nlp()


def make_nlp(**tokenizer: Any) -> Language:
    return spacy.blank(
        "ja",
        config={
            "nlp": {"tokenizer": {"@tokenizers": "spacy-jbert.SudachiTokenizer.v1", **tokenizer}}
        },
    )


def zones(nlp: Language) -> list[Callable[[], Any]]:
    return [nlp.memory_zone, nlp.vocab.memory_zone]


@pytest.mark.parametrize("kind", [0, 1], ids=["nlp", "vocab"])
def test_memory_zones_leave_nothing_behind(nlp: Language, kind: int) -> None:
    expected = {text: facts(both("A")[1](text)) for text in (*SENTENCES, *ODD)}
    other = SudachiTokenizer(nlp.vocab)
    assert facts(nlp(SENTENCES[0])) == expected[SENTENCES[0]]
    before = set(nlp.vocab.strings)
    for _ in range(3):
        with zones(nlp)[kind]():
            for text, doc in expected.items():
                assert facts(nlp.tokenizer(text)) == doc
                assert facts(other(text)) == doc  # two that share a vocabulary
        # Morphs are never transient: spaCy adds them for good.
        assert all(
            string.startswith(("Reading", "Inflection"))
            for string in set(nlp.vocab.strings) - before
        )
        assert facts(nlp(SENTENCES[0])) == expected[SENTENCES[0]]
    for text, doc in expected.items():
        assert facts(nlp.tokenizer(text)) == doc


def test_memory_zones_with_words_alone() -> None:
    nlp = make_nlp(attributes="words")
    expected = {text: words(both("A")[1](text)) for text in (*SENTENCES, *ODD)}
    assert words(nlp.tokenizer(SENTENCES[0])) == expected[SENTENCES[0]]
    before = set(nlp.vocab.strings)
    for _ in range(3):
        with nlp.memory_zone():
            for text, expected_words in expected.items():
                assert words(nlp.tokenizer(text)) == expected_words
        assert set(nlp.vocab.strings) == before
    for text, expected_words in expected.items():
        assert words(nlp.tokenizer(text)) == expected_words


def test_a_zone_keeps_rows_from_before_it(nlp: Language) -> None:
    nlp(SENTENCES[0])
    rows = len(nlp.tokenizer._rows)
    with nlp.memory_zone():
        nlp(SENTENCES[1])
        assert len(nlp.tokenizer._rows) > rows
    nlp("")
    assert len(nlp.tokenizer._rows) == rows


# --- Settings, dictionaries, storage --------------------------------------------------------------


@pytest.fixture(scope="session")
def user_dicts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two compiled user dictionaries, with a word each.

    The first has a part of speech that spaCy doesn't know.
    """
    folder = tmp_path_factory.mktemp("dictionaries")
    rows = {
        "駅": "超東京駅前広場,5146,5146,-9000,超東京駅前広場,名詞,未知,一般,*,*,*,チョウエキ,超東京駅前広場,*,A,*,*,*\n",
        "砲": "超電磁砲,5146,5146,-9000,超電磁砲,名詞,固有名詞,一般,*,*,*,レールガン,超電磁砲,*,A,*,*,*\n",
    }
    for name, row in rows.items():
        (folder / f"{name}.csv").write_text(row, encoding="utf-8")
        build_user_dic(
            system=SYSTEM,
            lex=[folder / f"{name}.csv"],
            output=folder / f"{name}.dic",
            description="",
        )
    return [folder / f"{name}.dic" for name in rows]


USER_TEXT = "超東京駅前広場の超電磁砲"
USER_TOKENS = [
    ("超東京駅前広場", "名詞-未知-一般", "X", "Reading=チョウエキ"),
    ("の", "助詞-格助詞", "ADP", "Reading=ノ"),
    ("超電磁砲", "名詞-固有名詞-一般", "PROPN", "Reading=レールガン"),
]


def user_tokens(nlp: Language) -> list[tuple[str, ...]]:
    return [(token.text, token.tag_, token.pos_, str(token.morph)) for token in nlp(USER_TEXT)]


@pytest.fixture
def with_dicts(user_dicts: list[Path], tmp_path: Path) -> Language:
    """A pipeline with user dictionaries whose originals are gone, as after moving to another
    machine.
    """
    originals = [Path(shutil.copy(path, tmp_path)) for path in user_dicts]
    nlp = make_nlp(split_mode="C")
    nlp.config["initialize"]["tokenizer"] = {"user_dicts": list(map(str, originals))}
    nlp.initialize()
    assert user_tokens(nlp) == USER_TOKENS
    portable()(nlp).to_disk(tmp_path / "saved")
    for original in originals:
        original.unlink()
    return spacy.load(tmp_path / "saved")


def test_user_dictionaries_travel_by_disk(with_dicts: Language, tmp_path: Path) -> None:
    assert user_tokens(with_dicts) == USER_TOKENS
    assert with_dicts.tokenizer.split_mode == "C"
    # Over itself, and from there to another folder that is then moved.
    with_dicts.to_disk(tmp_path / "saved")
    with_dicts.to_disk(tmp_path / "again")
    (tmp_path / "again").rename(tmp_path / "moved")
    assert user_tokens(spacy.load(tmp_path / "moved")) == USER_TOKENS
    for file in (tmp_path / "moved").rglob("*"):
        assert file.is_dir() or str(tmp_path).encode() not in file.read_bytes()
    # Another pipeline over it leaves none of them behind, and doesn't disturb who has them open.
    make_nlp().to_disk(tmp_path / "moved")
    assert not list((tmp_path / "moved").rglob("*.dic"))
    assert user_tokens(with_dicts) == USER_TOKENS


def test_user_dictionaries_travel_by_bytes_and_pickle(with_dicts: Language, tmp_path: Path) -> None:
    data, pickled = with_dicts.to_bytes(), pickle.dumps(with_dicts.tokenizer)
    shutil.rmtree(tmp_path / "saved")
    again = make_nlp().from_bytes(data)
    assert user_tokens(again) == USER_TOKENS
    assert again.to_bytes() == data
    tokenizer = pickle.loads(pickled)
    assert [token.text for token in tokenizer(USER_TEXT)] == [text for text, *_ in USER_TOKENS]
    assert tokenizer.split_mode == "C"


@pytest.mark.slow
def test_user_dictionaries_travel_in_a_wheel(with_dicts: Language, tmp_path: Path) -> None:
    def run(*command: object) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    (tmp_path / "packages").mkdir()
    run(
        "-m",
        "spacy",
        "package",
        "saved",
        "packages",
        "--name",
        "with_dicts",
        "--version",
        "0.0.1",
        "--build",
        "wheel",
    )
    (wheel,) = (tmp_path / "packages").rglob("*.whl")
    run(
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        tmp_path / "site",
        wheel,
    )
    shutil.rmtree(tmp_path / "packages")
    shutil.rmtree(tmp_path / "saved")
    program = f"import sys; sys.path.insert(0, 'site'); import spacy; print(*spacy.load('ja_with_dicts')('{USER_TEXT}'))"
    assert run("-c", program).split() == [text for text, *_ in USER_TOKENS]


def test_settings_travel(user_dicts: list[Path], tmp_path: Path) -> None:
    """A sudachi.json, with a dictionary and a character table beside it."""
    resources = Path(sudachipy.__file__).parent / "resources"
    (tmp_path / "own").mkdir()
    shutil.copy(resources / "char.def", tmp_path / "own" / "own.def")
    shutil.copy(user_dicts[0], tmp_path / "own" / "own.dic")
    found = json.loads((resources / "sudachi.json").read_bytes()) | {
        "userDict": ["own.dic"],
        "characterDefinitionFile": "own.def",
    }
    found["pathRewritePlugin"] = []
    (tmp_path / "own" / "sudachi.json").write_text(json.dumps(found), encoding="utf-8")
    nlp = make_nlp()
    nlp.tokenizer.initialize(
        user_dicts=[str(user_dicts[1])], config=str(tmp_path / "own" / "sudachi.json")
    )
    nlp.to_disk(tmp_path / "saved")
    shutil.rmtree(tmp_path / "own")
    again = spacy.load(tmp_path / "saved")
    assert user_tokens(again) == USER_TOKENS
    assert [token.text for token in again("百二")] == ["百", "二"]  # not joined
    assert [token.text for token in make_nlp()("百二")] == ["百二"]


def test_a_system_dictionary_of_ones_own() -> None:
    nlp = make_nlp(dict="core")
    nlp.tokenizer.initialize(system_dict=str(SYSTEM))
    assert facts(nlp(SENTENCES[0])) == facts(both("A")[1](SENTENCES[0]))
    assert nlp.tokenizer.dictionaries.files == {"system.dic": SYSTEM.resolve()}


def test_settings_survive(tmp_path: Path) -> None:
    nlp = make_nlp(split_mode="B", attributes="words")
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert (again.tokenizer.split_mode, again.tokenizer.attributes) == ("B", "words")
    other = SudachiTokenizer(nlp.vocab).from_bytes(nlp.tokenizer.to_bytes())
    assert (other.split_mode, other.attributes) == ("B", "words")


def test_scores(nlp: Language) -> None:
    doc = nlp("東京都へ")
    examples = [Example(doc, Doc(nlp.vocab, words=["東京都", "へ"], spaces=[False, False]))]
    assert nlp.tokenizer.score(examples)["token_f"] == pytest.approx(0.4)


@pytest.mark.parametrize("name", ["small", "full"])
def test_packages_that_the_dictionary_needs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spacy_jbert.tokenizer.dictionaries.find_spec", lambda package: package)
    nlp = make_nlp(dict=name)
    nlp.config["initialize"]["tokenizer"] = {"user_dicts": ["/somewhere/user.dic"]}
    portable()(portable()(nlp))
    assert nlp.meta["requirements"] == [f"sudachidict-{name}"]
    assert nlp.config["initialize"]["tokenizer"] == {}
    assert (
        "requirements" not in portable()(make_nlp()).meta
        or not portable()(make_nlp()).meta["requirements"]
    )


@pytest.mark.parametrize(
    ("code", "settings"),
    [
        ("J020", {"split_mode": "D"}),
        ("J020", {"attributes": "some"}),
        ("J021", {"dict": "/my/system.dic"}),
        ("J022", {"dict": "full"}),
    ],
)
def test_settings_that_do_not_exist(
    code: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "spacy_jbert.tokenizer.dictionaries.find_spec",
        lambda package: package if package == "sudachidict_core" else None,
    )
    with pytest.raises(ValueError, match=f"{code}.*") as error:
        make_nlp(**settings)
    assert next(iter(settings.values())).rstrip(".dic") in str(error.value)


def test_files_that_can_not_be_used(tmp_path: Path) -> None:
    bad = tmp_path / "bad.dic"
    bad.write_bytes(b"no dictionary")
    tokenizer = SudachiTokenizer(spacy.blank("ja").vocab)
    odd = []
    for i, content in enumerate(
        [{"path": 3}, {"systemDict": 3}, {"userDict": [3]}, {"userDict": 3}]
    ):
        odd.append(tmp_path / f"odd_{i}.json")
        odd[-1].write_text(json.dumps(content), encoding="utf-8")
    for code, files in [
        ("J023", {"user_dicts": [str(tmp_path / "missing.dic")]}),
        ("J024", {"config": str(bad)}),
        ("J025", {"user_dicts": [str(bad)]}),
        # These name nothing, which isn't the same as no setting.
        ("J023", {"system_dict": ""}),
        ("J023", {"config": ""}),
        *[("J024", {"config": str(path)}) for path in odd],
    ]:
        with pytest.raises(ValueError, match=code):
            tokenizer.initialize(**files)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="J025"):
        tokenizer.initialize(system_dict=str(bad))
    # It is as it was.
    assert facts(tokenizer("東京都へ")) == facts(both("A")[1]("東京都へ"))


def test_user_dictionaries_are_kept_in_order(user_dicts: list[Path]) -> None:
    many = Dictionaries.gather("core", users=[user_dicts[i % 2] for i in range(12)])
    assert [many.files[name].name for name in sorted(many.files)] == [
        user_dicts[i % 2].name for i in range(12)
    ]
    assert all(a < b for a, b in pairwise(many.files))
