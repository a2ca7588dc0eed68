"""What a saved tokenizer may not hold: code, paths, and what isn't what was saved."""

import json
import logging
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
import srsly
import sudachipy
from spacy.language import Language

from spacy_jbert.tokenizer.dictionaries import Dictionaries, UnpackedFiles, files_in
from spacy_jbert.tokenizer.sudachi import SudachiTokenizer

from .test_sudachi import USER_TEXT, USER_TOKENS, make_nlp, user_dicts, user_tokens

__all__ = ["user_dicts"]  # the fixture

OWN = "com.worksap.nlp.sudachi."
OOV = {
    "oovPOS": ["補助記号", "一般", "*", "*", "*", "*"],
    "leftId": 5968,
    "rightId": 5968,
    "cost": 1,
}

# Settings, and the code of the refusal.
REFUSED: list[tuple[str, Any]] = [
    *[
        ("J026", {kind: [{"class": name}]})
        for kind in ("inputTextPlugin", "oovProviderPlugin", "pathRewritePlugin")
        for name in ("evil.so", "/tmp/evil", "evil", f"{OWN}Evil", f"./{OWN}JoinNumericPlugin", "")
    ],
    ("J026", {"connectionCostPlugin": [{"class": "libevil.so"}]}),
    # Sudachi's own, but of another kind.
    ("J026", {"oovProviderPlugin": [{"class": f"{OWN}JoinNumericPlugin"}]}),
    ("J026", {"oovProviderPlugin": [{"class": f"{OWN}SimpleOovPlugin", **OOV}, {"class": "evil"}]}),
    ("J026", {"oovProviderPlugin": [{}]}),
    ("J026", {"oovProviderPlugin": [{"class": ["evil.so"]}]}),
    ("J027", {"oovProviderPlugin": {"class": "evil.so"}}),
    ("J027", {"oovProviderPlugin": ["evil.so"]}),
    ("J027", {"oovProviderPlugins": []}),
    ("J027", {"OovProviderPlugin": []}),
    ("J027", {"pathRewritePlugin": [{"class": f"{OWN}JoinNumericPlugin", "library": "evil.so"}]}),
    ("J027", {"characterDefinitionFile": ["char.def"]}),
    ("J027", ["oovProviderPlugin"]),
    ("J027", "evil.so"),
]
# Where a setting names a file.
FILE_SETTINGS: list[Callable[[str], dict[str, Any]]] = [
    lambda path: {"characterDefinitionFile": path},
    lambda path: {"oovProviderPlugin": [{"class": f"{OWN}MeCabOovPlugin", "charDef": path}]},
    lambda path: {"oovProviderPlugin": [{"class": f"{OWN}MeCabOovPlugin", "unkDef": path}]},
    lambda path: {
        "inputTextPlugin": [{"class": f"{OWN}DefaultInputTextPlugin", "rewriteDef": path}]
    },
]
PATHS = ["/etc/passwd", "../cfg", "files/../../cfg", "./char.def", "..", "C:\\char.def", "a\0b", ""]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The folder of a saved pipeline."""
    make_nlp().to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def change_cfg(saved: Path, **changes: Any) -> Path:
    cfg = saved / "tokenizer" / "cfg"
    cfg.write_text(json.dumps(json.loads(cfg.read_bytes()) | changes), encoding="utf-8")
    return saved


def with_cfg(**changes: Any) -> bytes:
    """The bytes of a tokenizer, its cfg changed."""
    data = srsly.msgpack_loads(make_nlp().tokenizer.to_bytes())
    cfg = srsly.json_loads(data["cfg"]) | changes
    return srsly.msgpack_dumps(data | {"cfg": srsly.json_dumps(cfg)})


@pytest.mark.parametrize(("code", "settings"), REFUSED)
def test_code_and_unknown_settings_are_refused(
    code: str, settings: Any, saved: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=code):
        spacy.load(change_cfg(saved, config=settings))
    with pytest.raises(ValueError, match=code):
        make_nlp().tokenizer.from_bytes(with_cfg(config=settings))
    if isinstance(settings, dict):  # else J024
        own = tmp_path / "sudachi.json"
        own.write_text(json.dumps(settings), encoding="utf-8")
        with pytest.raises(ValueError, match=code):
            make_nlp().tokenizer.initialize(config=str(own))


def test_a_plugin_beside_the_cfg_is_never_opened(saved: Path, tmp_path: Path) -> None:
    """In the folder of the files, and where the process runs, by any name that was tried."""
    for folder in (saved / "tokenizer" / "files", tmp_path):
        folder.mkdir(exist_ok=True)
        for name in ("evil.so", "libevil.so", "evil"):
            (folder / name).write_bytes(b"\x7fELF")
    settings = {"oovProviderPlugin": [{"class": "evil.so"}]}
    with pytest.raises(ValueError, match="J026"):
        spacy.load(change_cfg(saved, config=settings))
    (tmp_path / "sudachi.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(ValueError, match="J026"):
        Dictionaries.gather("core", settings=tmp_path / "sudachi.json")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("setting", FILE_SETTINGS)
def test_paths_in_saved_settings_are_refused(
    path: str, setting: Callable[[str], dict[str, Any]], saved: Path
) -> None:
    with pytest.raises(ValueError, match="J028"):
        spacy.load(change_cfg(saved, config=setting(path)))
    with pytest.raises(ValueError, match="J028"):
        make_nlp().tokenizer.from_bytes(with_cfg(config=setting(path)))


@pytest.mark.parametrize("key", ["systemDict", "userDict", "path", "resourcePath"])
def test_settings_that_are_paths_are_refused(key: str, saved: Path) -> None:
    with pytest.raises(ValueError, match="J027"):
        spacy.load(change_cfg(saved, config={key: "/etc"}))


@pytest.mark.parametrize("name", ["/etc/passwd", "../core", "./core", 3, ["core"], None])
def test_the_dictionary_of_a_saved_pipeline_is_a_name(name: Any, saved: Path) -> None:
    with pytest.raises(ValueError, match="J021"):
        spacy.load(change_cfg(saved, dict=name))


def test_the_working_directory_does_not_matter(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("core", "char.def", "unk.def", "rewrite.def"):
        (tmp_path / name).write_bytes(b"garbage")
    config = {"characterDefinitionFile": "char.def"}
    assert [token.text for token in spacy.load(change_cfg(saved, config=config))("東京都")] == [
        "東京",
        "都",
    ]
    (tmp_path / "own.def").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="J027"):
        spacy.load(change_cfg(saved, config={"characterDefinitionFile": "own.def"}))


@pytest.mark.parametrize("name", ["../../evil.dic", "/tmp/evil.dic", "..", "", "a/b", "a\\b"])
def test_names_in_bytes_are_no_paths(name: str, tmp_path: Path) -> None:
    data = srsly.msgpack_loads(with_cfg()) | {"files": {name: b"evil"}}
    with pytest.raises(ValueError, match="J028"):
        make_nlp().tokenizer.from_bytes(srsly.msgpack_dumps(data))
    with pytest.raises(ValueError, match="J028"):
        UnpackedFiles({name: b"evil"})
    with pytest.raises(ValueError, match="J028"):
        Dictionaries(files={name: tmp_path})


def test_links_are_not_followed(saved: Path, user_dicts: list[Path], tmp_path: Path) -> None:
    shutil.copy(user_dicts[0], tmp_path / "elsewhere.dic")
    files = saved / "tokenizer" / "files"
    files.mkdir()
    (files / "user_00.dic").symlink_to(tmp_path / "elsewhere.dic")
    with pytest.raises(ValueError, match="J028"):
        spacy.load(saved)
    (files / "user_00.dic").unlink()
    files.rmdir()
    files.symlink_to(tmp_path)
    with pytest.raises(ValueError, match="J028"):
        files_in(files)


def test_sudachis_own_settings_are_taken(tmp_path: Path) -> None:
    """Those that it comes with, and each of its plugins."""
    resources = Path(sudachipy.__file__).parent / "resources"
    settings = json.loads((resources / "sudachi.json").read_bytes())
    settings["oovProviderPlugin"].insert(
        0, {"class": f"{OWN}RegexOovProvider", "regex": "[0-9]+x", **OOV}
    )
    settings["connectionCostPlugin"] = [
        {"class": f"{OWN}InhibitConnectionPlugin", "inhibitPair": [[1, 2]]}
    ]
    (tmp_path / "sudachi.json").write_text(json.dumps(settings), encoding="utf-8")
    nlp = make_nlp()
    nlp.tokenizer.initialize(config=str(tmp_path / "sudachi.json"))
    nlp.to_disk(tmp_path / "saved")
    assert [token.text for token in spacy.load(tmp_path / "saved")("東京12x")] == ["東京", "12x"]


def test_files_of_one_name_in_two_folders(tmp_path: Path) -> None:
    resources = Path(sudachipy.__file__).parent / "resources"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(resources / "char.def", tmp_path / name / "char.def")
    (tmp_path / "b" / "char.def").write_bytes((resources / "char.def").read_bytes() + b"# other\n")
    settings = json.loads((resources / "sudachi.json").read_bytes())
    settings["characterDefinitionFile"] = "a/char.def"
    settings["oovProviderPlugin"][0]["charDef"] = "b/char.def"
    (tmp_path / "sudachi.json").write_text(json.dumps(settings), encoding="utf-8")
    found = Dictionaries.gather("core", settings=tmp_path / "sudachi.json")
    assert len(set(found.digests().values())) == 2


# --- Damage, and files that go ---------------------------------------------------------------------


@pytest.fixture
def with_dict(user_dicts: list[Path], tmp_path: Path) -> Language:
    """A pipeline with two user dictionaries, saved and loaded."""
    nlp = make_nlp(split_mode="C")
    nlp.tokenizer.initialize(user_dicts=list(map(str, user_dicts)))
    nlp.to_disk(tmp_path / "pipeline")
    return spacy.load(tmp_path / "pipeline")


def replaced(path: Path, data: bytes) -> None:
    path.unlink()  # the one that is mapped stays as it is
    path.write_bytes(data)


def one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    replaced(path, bytes(data))


DAMAGES: list[Callable[[Path], None]] = [
    one_bit,
    Path.unlink,
    lambda path: replaced(path, b""),
    lambda path: replaced(path, bytes(path.stat().st_size)),
    lambda path: replaced(path, path.read_bytes()[:-1]),
    lambda path: os.replace(path, path.with_name("user_07.dic")),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_dictionaries_are_noticed(
    damage: Callable[[Path], None], with_dict: Language, tmp_path: Path
) -> None:
    damage(tmp_path / "pipeline" / "tokenizer" / "files" / "user_00.dic")
    with pytest.raises(ValueError, match=r"J029|J025"):
        spacy.load(tmp_path / "pipeline")


def test_a_damaged_dictionary_is_no_panic(user_dicts: list[Path], tmp_path: Path) -> None:
    """One that is damaged before a pipeline has its hash."""
    chance = random.Random(0)
    intact = user_dicts[0].read_bytes()
    codes = set()
    for number in range(80):
        data = bytearray(intact)
        for _ in range(8):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path = tmp_path / f"{number}.dic"
        path.write_bytes(data)
        try:
            nlp = make_nlp(split_mode="C")
            nlp.tokenizer.initialize(user_dicts=[str(path)])
            assert nlp(USER_TEXT).text == USER_TEXT
        except ValueError as error:
            codes.add(str(error)[:6])
    assert codes <= {"[J025]", "[J096]"}


def test_a_panic_is_coded(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    def panic(text: str) -> None:
        raise PanicException("index out of bounds")

    nlp = make_nlp()
    monkeypatch.setattr(nlp.tokenizer, "_tokens", panic)
    with pytest.raises(ValueError, match="J096"):
        nlp("猫")


@pytest.mark.parametrize(
    "cfg", [b"", b"{", b"[]", b"null", b'{"dict": "core"}', b"\xff", b"[" * 9999]
)
def test_a_damaged_cfg_is_noticed(cfg: bytes, saved: Path) -> None:
    (saved / "tokenizer" / "cfg").write_bytes(cfg)
    with pytest.raises(ValueError, match="J029"):
        spacy.load(saved)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"no", srsly.msgpack_dumps({"cfg": "{}"}), b"\x90"])
def test_damaged_bytes_are_noticed(data: bytes) -> None:
    with pytest.raises(ValueError, match="J029"):
        make_nlp().tokenizer.from_bytes(data)


def test_pipelines_saved_before_there_were_digests_load(
    with_dict: Language, tmp_path: Path
) -> None:
    cfg = tmp_path / "pipeline" / "tokenizer" / "cfg"
    found = json.loads(cfg.read_bytes())
    del found["files"]
    cfg.write_text(json.dumps(found), encoding="utf-8")
    assert user_tokens(spacy.load(tmp_path / "pipeline")) == USER_TOKENS


def test_saving_does_not_need_the_files_it_came_from(with_dict: Language, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "pipeline")
    data, pickled = with_dict.to_bytes(), pickle.dumps(with_dict.tokenizer)
    with_dict.to_disk(tmp_path / "again")
    assert user_tokens(spacy.load(tmp_path / "again")) == USER_TOKENS
    assert user_tokens(make_nlp().from_bytes(data)) == USER_TOKENS
    assert [token.text for token in pickle.loads(pickled)(USER_TEXT)] == [t[0] for t in USER_TOKENS]


def test_a_killed_save_is_put_right(with_dict: Language, tmp_path: Path) -> None:
    """Between the two renames of the folder."""
    files = tmp_path / "pipeline" / "tokenizer" / "files"
    files.rename(files.with_name(".files.old"))
    assert user_tokens(spacy.load(tmp_path / "pipeline")) == USER_TOKENS
    assert [path.name for path in files.parent.iterdir() if path.name.startswith(".")] == []


# --- Halves of characters ---------------------------------------------------------------------------

HALVES = ["\ud800", "東京\udfffへ", "\ud83c\udf63", "a \udc80", "東京" * 40_000 + "\ud800"]


@pytest.mark.parametrize("attributes", ["all", "words"])
@pytest.mark.parametrize("text", HALVES, ids=range(len(HALVES)))
def test_halves_of_characters_end_nothing(
    text: str, attributes: str, caplog: pytest.LogCaptureFixture
) -> None:
    doc = SudachiTokenizer(spacy.blank("ja").vocab, attributes=attributes)(text)
    assert doc.text == "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    assert len(doc.text) == len(text)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "JW020" in caplog.text


@pytest.mark.parametrize("n_process", [1, 2])
def test_a_stream_goes_on_after_half_a_character(n_process: int) -> None:
    texts = ["東京都", "行く\ud800", "京都", "\udfff", "行く"]
    docs = list(make_nlp().pipe(texts, n_process=n_process, batch_size=2))
    assert [doc.text for doc in docs] == ["東京都", "行く\ufffd", "京都", "\ufffd", "行く"]
