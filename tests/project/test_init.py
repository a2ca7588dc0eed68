"""`python -m spacy jbert init`: data of a stranger's -> a project."""

import csv
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import srsly
from spacy.cli import app
from spacy.tokens import Span
from spacy.util import load_config
from typer.main import get_command
from typer.testing import CliRunner

from spacy_jbert.cli.app import app as jbert
from spacy_jbert.cli.demo import said
from spacy_jbert.corpora.inspection import inspect
from spacy_jbert.errors import DataError
from spacy_jbert.project import create, shipped

ROOT = Path(__file__).parents[2]
TEXTS = [f"第{n}回の会議は東京で開かれました。" for n in range(30)]
TOPICS = ["経済", "暮らし"]


def init(*words: object) -> Any:
    return CliRunner().invoke(jbert, ["init", *map(str, words)])


def write_jsonl(path: Path, records: list[dict]) -> Path:
    lines = (json.dumps(record, ensure_ascii=False) for record in records)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def write_csv(path: Path, encoding: str, delimiter: str = ",", label: str = "分類") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        table = csv.writer(file, delimiter=delimiter)
        table.writerow(["番号", "本文", label])
        table.writerows([n, text, TOPICS[n % 2]] for n, text in enumerate(TEXTS))
    return path


def project_of(folder: Path) -> dict[str, Any]:
    return srsly.read_yaml(folder / "project.yml")


@pytest.mark.parametrize("encoding", ["cp932", "euc_jp", "utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_in_any_encoding(encoding: str, delimiter: str, tmp_path: Path) -> None:
    found = inspect(write_csv(tmp_path / "my data.csv", encoding, delimiter))
    assert (found.task, found.text_field, found.label_field) == ("textcat", "本文", "分類")
    assert found.labels == {"経済": 15, "暮らし": 15}
    assert found.texts == 30


SHAPES: dict[str, tuple[dict, dict]] = {
    "ner": (
        {"text": "東京に行く", "entities": [[0, 2, "地名"]]},
        {"entities_field": "entities", "labels": {"地名": 30}},
    ),
    "textcat": (
        {"body": "東京に行く", "topic": "旅"},
        {"text_field": "body", "label_field": "topic"},
    ),
    "textcat_multilabel": (
        {"text": "東京に行く", "tags": ["旅", "鉄道"]},
        {"label_field": "tags", "labels": {"旅": 30, "鉄道": 30}},
    ),
    "joint": (
        {"text": "東京に行く", "entities": [[0, 2, "地名"]], "label": "旅"},
        {"entities_field": "entities", "label_field": "label"},
    ),
    "text": ({"text": "東京に行く", "id": 3}, {"text_field": "text"}),
}


@pytest.mark.parametrize("task", SHAPES)
def test_the_task_is_what_the_fields_are_for(task: str, tmp_path: Path) -> None:
    record, expected = SHAPES[task]
    name = expected.get("text_field", "text")
    records = [{**record, name: f"{record[name]}{n}"} for n in range(30)]
    if "id" in record:
        records = [{**one, "id": n} for n, one in enumerate(records)]
    found = inspect(write_jsonl(tmp_path / "x.jsonl", records))
    assert found.task == task
    for attribute, value in expected.items():
        assert getattr(found, attribute) == value


def test_several_labels_in_a_cell(tmp_path: Path) -> None:
    cells = ["旅;鉄道", "旅", "鉄道", "旅;海;鉄道", "海;旅", "海"] * 5
    records = [{"text": text, "label": cell} for text, cell in zip(TEXTS, cells, strict=True)]
    found = inspect(write_jsonl(tmp_path / "x.jsonl", records))
    assert (found.task, found.separator) == ("textcat_multilabel", ";")
    # A comma within the names of labels separates nothing.
    cells = ["食べ物, 飲み物", "旅"] * 15
    records = [{"text": text, "label": cell} for text, cell in zip(TEXTS, cells, strict=True)]
    assert inspect(write_jsonl(tmp_path / "x.jsonl", records)).task == "textcat"


def test_tagged_tokens_and_running_text(tmp_path: Path) -> None:
    tagged = tmp_path / "x.txt"
    tagged.write_text("東京\tB-地名\nに\tO\n\n" * 12, encoding="utf-8")
    found = inspect(tagged)
    assert (found.format, found.task, found.records, found.labels["地名"]) == ("iob", "ner", 12, 12)
    running = tmp_path / "y.txt"
    running.write_text("東京に行きました。\n海を見ました。\n\n" * 12, encoding="utf-8")
    assert inspect(running).task == "text"


def test_empty_unlabelled_and_repeated_are_counted(tmp_path: Path) -> None:
    records = [{"text": text, "label": TOPICS[n % 2]} for n, text in enumerate(TEXTS)]
    records += [{"text": " ", "label": "経済"}, {"text": "ラベルなし", "label": ""}, records[0]]
    found = inspect(write_jsonl(tmp_path / "x.jsonl", records))
    assert (found.empty, found.unlabelled, found.repeated) == (1, 1, 1)
    init(tmp_path / "made", "--data", tmp_path / "x.jsonl")
    assert "--skip-unlabelled" in project_of(tmp_path / "made")["commands"][0]["script"][0]


@pytest.mark.parametrize(
    ("records", "options", "code"),
    [
        ([{"n": n} for n in range(30)], {}, "J320"),
        ([{"text": text} for text in TEXTS], {"task": "textcat"}, "J321"),
        ([{"text": text} for text in TEXTS], {"task": "ner"}, "J321"),
        ([{"text": text} for text in TEXTS], {"label_field": "nothing"}, "J206"),
        ([{"text": text, "label": "x"} for text in TEXTS[:5]], {}, "J322"),
        ([{"text": text, "label": "x"} for text in TEXTS], {}, "J323"),
        ([{"text": text, "entities": []} for text in TEXTS], {"task": "ner"}, "J32"),
    ],
)
def test_data_that_nothing_can_be_learned_from(
    records: list[dict], options: dict[str, Any], code: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=code):
        create.check(inspect(write_jsonl(tmp_path / "x.jsonl", records), **options))


TASKS = ["ner", "textcat", "textcat_multilabel", "joint", "adapt", "pretrain"]


@pytest.mark.parametrize("task", TASKS)
def test_every_config_is_complete(task: str, tmp_path: Path) -> None:
    config = tmp_path / "config.cfg"
    config.write_text(create.config_text(task, steps=600, small=True), encoding="utf-8")
    words = ["init", "fill-config", str(config), str(tmp_path / "filled.cfg")]
    get_command(app)(words, standalone_mode=False)
    assert load_config(tmp_path / "filled.cfg") == load_config(config)
    if task not in ("adapt", "pretrain"):
        assert load_config(config)["training"]["max_steps"] == 600
    if task == "textcat_multilabel":
        textcat = load_config(config)["components"]["textcat"]
        assert textcat["factory"] == "textcat_multilabel"
        assert textcat["model"]["exclusive_classes"] is False


def test_nothing_of_the_users_is_touched(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "data.csv", "cp932")
    # A folder that holds the data already is as good as a new one.
    assert init(tmp_path, "--data", data).exit_code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = init(tmp_path, "--data", data)
    assert again.exit_code == 1
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    assert init(tmp_path, "--data", data, "--force").exit_code == 0
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_a_project_says_what_it_is(lang: str, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "my data.csv", "cp932")
    done = init(tmp_path / "私の project", "--data", data, "--lang", lang)
    assert done.exit_code == 0, done.output
    for expected in ("CP932", "本文", "--text-field", "--label-field", "--encoder", "--task"):
        assert expected in done.output
    made = project_of(tmp_path / "私の project")
    convert = made["commands"][0]["script"][0]
    assert '"${vars.data}"' in convert
    assert made["vars"]["data"] == "../my data.csv"
    assert "--encoding cp932" in convert
    # 30 texts: cross-validation.
    assert made["workflows"]["all"] == ["convert", "train", "crossval", "report", "package"]
    assert made["vars"]["name"] == "project"
    readme = (tmp_path / "私の project" / "README.md").read_text(encoding="utf-8")
    assert readme.count("$ ") == 3
    # What only a person can say, for the model card.
    assert "meta.json" in readme
    meta = json.loads((tmp_path / "私の project" / "meta.json").read_text(encoding="utf-8"))
    assert meta["sources"][0]["name"] == "my data.csv"
    assert (meta["license"], meta["author"], meta["description"]) == ("", "", "")
    report = next(step for step in made["commands"] if step["name"] == "report")
    assert "--meta meta.json" in report["script"][0]
    assert "meta.json" in report["deps"]
    encoder = tmp_path / "私の project" / made["vars"]["encoder"]
    assert (encoder / "model.safetensors").is_file()


def test_an_encoder_of_ones_own(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "data.csv", "utf-8")
    own = shipped.small_encoder()
    assert init(tmp_path / "a", "--data", data, "--encoder", own).exit_code == 0
    encoder = tmp_path / "a" / project_of(tmp_path / "a")["vars"]["encoder"]
    assert own is not None
    assert encoder.resolve() == own.resolve()
    assert init(tmp_path / "b", "--data", data, "--encoder", "owner/name").exit_code == 0
    assert project_of(tmp_path / "b")["vars"]["encoder"] == "owner/name"
    assert not (tmp_path / "b" / "assets").exists()
    with pytest.raises(ValueError, match="J327"):
        create.check_encoder("./nothing/here")


def test_without_data_a_task_is_asked_for(tmp_path: Path) -> None:
    assert init(tmp_path / "a").exit_code == 1
    assert init(tmp_path / "a", "--task", "ner").exit_code == 0
    assert project_of(tmp_path / "a")["vars"]["data"] == "assets/data.jsonl"


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    words = ["init", str(tmp_path / "a"), "--data", str(tmp_path / "nothing.csv")]
    assert isinstance(CliRunner().invoke(jbert, ["--debug", *words]).exception, DataError)
    assert isinstance(CliRunner().invoke(jbert, words).exception, SystemExit)


def test_the_demo_shows_entities_and_categories(make_doc: Any) -> None:
    doc = make_doc("東京に行く")
    doc.ents = [Span(doc, 0, 1, label="地名")]
    doc.cats = {"旅": 0.9, "食": 0.1}
    lines = "\n".join(said(doc))
    assert "東京\t地名" in lines
    assert lines.index("旅") < lines.index("食")


def test_a_table_without_names(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    rows = [f"{text},{TOPICS[n % 2]}" for n, text in enumerate(TEXTS)]
    path.write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(DataError, match="J331"):
        inspect(path)


def test_entities_that_overlap(tmp_path: Path) -> None:
    entities: list[Any] = [[0, 2, "地名"], {"start": 0, "end": 4, "label": "施設"}]
    records = [{"text": f"東京都庁{n}", "entities": entities} for n in range(30)]
    assert inspect(write_jsonl(tmp_path / "x.jsonl", records)).overlapping == 30
    init(tmp_path / "made", "--data", tmp_path / "x.jsonl")
    script = project_of(tmp_path / "made")["commands"][0]["script"][0]
    assert "--overlaps longest" in script
    records = [{"text": f"東京都庁{n}", "entities": entities[:1] * 2} for n in range(30)]
    assert inspect(write_jsonl(tmp_path / "x.jsonl", records)).overlapping == 0


@pytest.mark.parametrize("entity", [None, 3, "x", [], {}, {"span": 3}, [0, 2], ["a", "b", "c"]])
def test_what_is_no_entity_is_left_to_the_conversion(entity: Any, tmp_path: Path) -> None:
    records = [{"text": text, "entities": [[0, 2, "地名"], entity]} for text in TEXTS]
    assert inspect(write_jsonl(tmp_path / "x.jsonl", records)).labels["地名"] == 30


def test_running_text_for_a_new_encoder_or_one_that_is_there(tmp_path: Path) -> None:
    data = tmp_path / "news.txt"
    data.write_text("東京に行きました。\n海を見ました。\n\n" * 50_000, encoding="utf-8")
    own = shipped.small_encoder()
    for folder, *options in (
        ("new", "--task", "pretrain"),
        ("small", "--task", "adapt"),
        ("found",),
        ("own", "--task", "pretrain", "--encoder", own),
    ):
        done = init(tmp_path / folder, "--data", data, *options)
        assert done.exit_code == 0, done.output
        made = project_of(tmp_path / folder)
        train = made["commands"][1]["script"][0]
        is_new = folder == "new"
        assert ("configs/pretrain.cfg" in train) == is_new
        assert ("encoder" in made["vars"]) != is_new
        assert ("vocabulary.size ${vars.vocabulary}" in train) == is_new
        assert made["vars"]["epochs"] == (10.0 if is_new else 3.0)
        config = tmp_path / folder / "configs" / ("pretrain.cfg" if is_new else "adapt.cfg")
        assert load_config(config, interpolate=False)["initialize"]["after_init"]


def test_steps_are_described_in_the_readers_language(tmp_path: Path) -> None:
    rows = [{"text": text, "label": TOPICS[n % 2]} for n, text in enumerate(TEXTS)]
    data = write_jsonl(tmp_path / "x.jsonl", [*rows, {"text": "雪が降った。", "label": "天気"}])
    for lang in ("ja", "en"):
        done = init(tmp_path / lang, "--data", data, "--lang", lang)
        assert "JW320" in done.output
        assert "天気" in done.output
        helps = [step["help"] for step in project_of(tmp_path / lang)["commands"]]
        for sentence in [
            *helps,
            next(line for line in done.output.splitlines() if "JW320" in line),
        ]:
            assert sentence.replace("天気", "").isascii() == (lang == "en"), sentence


@pytest.mark.parametrize("encoding", ["cp932", "euc_jp", "utf-16"])
def test_running_text_in_any_encoding(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "news.txt"
    data.write_text("東京に行きました。\n海を見ました。\n\n" * 12, encoding=encoding)
    done = init(tmp_path / "mine", "--data", data)
    assert done.exit_code == 0, done.output
    convert = next(
        command
        for command in project_of(tmp_path / "mine")["commands"]
        if command["name"] == "convert"
    )
    command = convert["script"][0].replace("${vars.data}", str(data))
    monkeypatch.chdir(tmp_path / "mine")
    done = CliRunner().invoke(jbert, shlex.split(command.split(" jbert ", 1)[1]))
    assert done.exit_code == 0, done.output
    assert "海を見ました。" in (tmp_path / "mine/corpus/text.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["a.tsv", "a.txt", "a.bio", "a.csv"])
def test_tagged_tokens_under_any_name(name: str, tmp_path: Path) -> None:
    delimiter = "," if name == "a.csv" else "\t"
    lines = [f"東京{delimiter}B-地名", f"へ{delimiter}O", "", f"私{delimiter}O"]
    (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = inspect(tmp_path / name)
    assert (found.format, found.task, found.labels) == ("iob", "ner", {"地名": 1})
