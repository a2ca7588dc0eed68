"""spaCy's own commands on the configs that are shipped, and on what is trained from them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.cli import app
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.util import load_config, load_model_from_config, walk_dict
from spacy.vocab import Vocab
from typer.main import get_command
from typer.testing import CliRunner

from spacy_jbert.cli.app import app as jbert

from .conftest import SENTENCES

CONFIGS = Path(__file__).parents[1] / "configs"
FINE_TUNED = {"ner": ["ner"], "textcat": ["textcat"], "joint": ["ner", "textcat"]}


def run(*words: object) -> None:
    """A command line behind `python -m spacy`."""
    get_command(app)([str(word) for word in words], standalone_mode=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, ner_examples, japanese: Language) -> Path:
    docs = [eg.reference for eg in ner_examples(japanese)]
    for i, doc in enumerate(docs):
        doc.cats = {"even": float(i % 2 == 0), "odd": float(i % 2)}
    path = tmp_path_factory.mktemp("data") / "data.spacy"
    DocBin(docs=docs).to_disk(path)
    return path


@pytest.fixture(scope="module")
def overrides(data: Path, checkpoint: Callable) -> list[object]:
    return [
        *("--paths.train", data, "--paths.dev", data),
        *("--paths.encoder", checkpoint("mecab-unidic")),
        *("--components.transformer.model.overlap", 8),
    ]


@pytest.fixture(scope="module")
def trained(overrides: list[object], tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """The folder of a pipeline trained from a config, each trained once."""
    folders: dict[str, Path] = {}

    def train(name: str) -> Path:
        if name not in folders:
            out = tmp_path_factory.mktemp(name) / "not" / "there"
            steps = ("--training.max_steps", 2, "--training.eval_frequency", 1)
            run("train", CONFIGS / f"{name}.cfg", "--output", out, *overrides, *steps)
            folders[name] = out / "model-last"
        return folders[name]

    return train


@pytest.mark.parametrize(
    "name", ["ner", "textcat", "joint", "qa", "gpu", "pretrain", "adapt", "small"]
)
def test_fill_config_adds_nothing(name: str, tmp_path: Path) -> None:
    run("init", "fill-config", CONFIGS / f"{name}.cfg", tmp_path / "filled.cfg")
    assert load_config(tmp_path / "filled.cfg") == load_config(CONFIGS / f"{name}.cfg")


def test_the_config_for_gpus_is_that_for_entities_with_larger_steps() -> None:
    ours, gpu = (load_config(CONFIGS / f"{name}.cfg") for name in ("ner", "gpu"))
    changed = {
        "nlp.batch_size",
        "components.transformer.model.precision",
        "training.max_steps",
        "training.eval_frequency",
        "training.batcher.size",
        "training.optimizer.learn_rate.warmup_steps",
        "training.optimizer.learn_rate.initial_rate",
    }
    before, after = (
        {tuple(key): value for key, value in walk_dict(config.interpolate())}
        for config in (ours, gpu)
    )
    assert before.keys() == after.keys()
    different = {".".join(map(str, key)) for key in before if before[key] != after[key]}
    assert different - {"training.optimizer.learn_rate.total_steps"} == changed
    assert 4000 <= gpu["training"]["batcher"]["size"] <= 8000
    assert gpu["components"]["transformer"]["model"]["precision"] == "bf16"


def debug_data(config: Path, *words: object, status: int = 1) -> str:
    """What `jbert debug-data` says."""
    result = CliRunner().invoke(jbert, ["debug-data", str(config), *map(str, words)])
    assert result.exit_code == status, result.output
    return " ".join(result.output.split())


def check_config(config: Path, overrides: list[object], heads: list[str], out: Path) -> None:
    run("debug", "config", config, *overrides)
    with pytest.raises(SystemExit) as low_number_of_examples:
        run("debug", "data", config, *overrides)
    assert low_number_of_examples.value.code == 1
    debugged = debug_data(config, *overrides)
    assert ("Named Entity Recognition" in debugged) == ("ner" in heads)
    assert ("Text Classification" in debugged) == ("textcat" in heads)
    assert "Low number of examples to train a new pipeline (20)" in debugged
    assert "[JW244] 20 of 20" in debugged
    run("init", "labels", config, out / "new" / "labels", *overrides)
    for head in heads:
        run("debug", "model", config, head, *overrides, "-P0", "-P1", "-P2", "-P3")
        assert (out / "new" / "labels" / f"{head}.json").is_file()
    with_labels = load_config(config)
    for head in heads:
        source = {"@readers": "spacy.read_labels.v1", "path": str(out / f"new/labels/{head}.json")}
        with_labels["initialize"]["components"].setdefault(head, {})["labels"] = source
    with_labels.to_disk(out / "labels.cfg")
    run("assemble", out / "labels.cfg", out / "assembled", *overrides)
    assert spacy.load(out / "assembled").pipe_names == ["transformer", *heads]


@pytest.mark.parametrize("name", FINE_TUNED)
def test_every_command_takes_a_shipped_config(
    name: str, overrides: list[object], tmp_path: Path
) -> None:
    check_config(CONFIGS / f"{name}.cfg", overrides, FINE_TUNED[name], tmp_path)


@pytest.mark.parametrize("name", FINE_TUNED)
def test_every_command_takes_the_config_of_a_trained_pipeline(
    name: str, trained: Callable, data: Path, tmp_path: Path
) -> None:
    folder = trained(name)
    overrides = [
        *("--paths.train", data, "--paths.dev", data),
        *("--paths.encoder", folder / "transformer" / "model"),
    ]
    check_config(folder / "config.cfg", overrides, FINE_TUNED[name], tmp_path)


def sample(labels: dict[str, str], *texts: str) -> list[Doc]:
    """Documents of these texts, in which what is in the table is an entity."""
    docs = []
    for text in texts:
        doc = Doc(Vocab(), words=list(text), spaces=[False] * len(text))
        doc.set_ents(
            [
                doc.char_span(text.index(part), text.index(part) + len(part), label)
                for part, label in labels.items()
                if part in text
            ]
        )
        docs.append(doc)
    return docs


def test_debug_data_finds_what_spacy_does_not(checkpoint: Callable, tmp_path: Path) -> None:
    learned = sample(
        {"田中 ": "PERSON", "東京": "Ｐerson", "書": "GPE", "京都\n": "GPE"},
        *("田中 さん", "東京と図書館", "京都\nへ", "同じ文です。"),
        SENTENCES[0],
    )
    wrong = sample({"京都": "NEW"}, "京都\nへ", "同じ文 です。", SENTENCES[1])
    for name, docs in (("train", learned), ("dev", wrong)):
        DocBin(docs=docs).to_disk(tmp_path / f"{name}.spacy")
    overrides = [
        *("--paths.train", tmp_path / "train.spacy", "--paths.dev", tmp_path / "dev.spacy"),
        *("--paths.encoder", checkpoint("bert-fast")),
    ]
    said = debug_data(CONFIGS / "ner.cfg", *overrides)
    assert "Named Entity Recognition" in said
    assert "Labels in train data:" in debug_data(CONFIGS / "ner.cfg", *overrides, "--verbose")
    found = set(re.findall(r"\[(JW\d+)\]", said))
    assert found == {"JW201", "JW211", "JW240", "JW241", "JW242", "JW243", "JW244"}
    assert "[JW240] 2 of 4" in said
    assert "書 in 図書" in said
    assert "PERSON / Ｐerson" in said
    quiet = debug_data(CONFIGS / "ner.cfg", *overrides, "--ignore-warnings")
    assert "Named Entity Recognition" in quiet
    assert "JW" not in quiet


def test_debug_data_names_entities_that_wordpieces_cannot_express(
    checkpoint: Callable, tmp_path: Path
) -> None:
    # A piece of this vocabulary, in the middle of which the entity begins.
    docs = sample({"輩": "GPE"}, SENTENCES[0])
    DocBin(docs=docs).to_disk(tmp_path / "data.spacy")
    overrides = [
        *("--paths.train", tmp_path / "data.spacy", "--paths.dev", tmp_path / "data.spacy"),
        *("--paths.encoder", checkpoint("electra")),
    ]
    assert "[JW242] 1 of 1" in debug_data(CONFIGS / "ner.cfg", *overrides)


@pytest.mark.parametrize("name", ["pretrain", "adapt", "small"])
def test_debug_data_of_a_config_for_pretraining_trains_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    overrides = [
        *("--paths.text", tmp_path / "text.txt"),
        *(("--paths.output", tmp_path / "out") if name != "adapt" else ()),
    ]
    assert "20 training docs" in debug_data(CONFIGS / f"{name}.cfg", *overrides)
    assert not (tmp_path / "out").exists()


def test_debug_data_of_a_sourced_head(trained: Callable, data: Path, tmp_path: Path) -> None:
    config = load_config(CONFIGS / "ner.cfg")
    for name in ("transformer", "ner"):
        config["components"][name] = {"source": str(trained("ner"))}
    config.to_disk(tmp_path / "config.cfg")
    said = debug_data(tmp_path / "config.cfg", "--paths.train", data, "--paths.dev", data, status=1)
    assert "Named Entity Recognition" in said


def test_debug_data_without_data_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "train.spacy").write_bytes(b"")
    paths = ("--paths.train", tmp_path / "train.spacy", "--paths.dev", tmp_path / "no")
    assert "Traceback" not in debug_data(CONFIGS / "ner.cfg", *paths)


def test_a_config_without_an_encoder_says_so(trained: Callable, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="J301"):
        run("assemble", trained("ner") / "config.cfg", tmp_path / "assembled")
    with pytest.raises(ValueError, match="J301"):
        run("assemble", CONFIGS / "ner.cfg", tmp_path / "assembled")


def test_one_setting_is_enough_for_the_number_of_steps() -> None:
    config = load_config(CONFIGS / "ner.cfg", overrides={"training.max_steps": 30})
    nlp = load_model_from_config(config)
    optimizer = nlp.create_optimizer()
    rates = []
    for _ in range(31):
        rates.append(optimizer.learn_rate)
        optimizer.step_schedules()
    assert rates[-1] < 1e-4


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("training.optimizer.use_averages", "true"),
        ("training.before_to_disk.*.calibrate.thresholds", "true"),
        ("training.annotating_components", '["transformer", "ner"]'),
        ("training.accumulate_gradient", 3),
        ("training.before_to_disk", "null"),
    ],
)
def test_training_otherwise(
    setting: str, value: object, overrides: list[object], tmp_path: Path
) -> None:
    steps = ("--training.max_steps", 3, "--training.eval_frequency", 1)
    words = [*overrides, *steps, f"--{setting}", value]
    config = load_config(CONFIGS / "joint.cfg")
    # An exclusive classifier takes no thresholds.
    config["components"]["textcat"]["model"]["exclusive_classes"] = False
    config.to_disk(tmp_path / "config.cfg")
    run("train", tmp_path / "config.cfg", "--output", tmp_path / "out", *words)
    last, best = (spacy.load(tmp_path / "out" / f"model-{name}") for name in ("last", "best"))
    for nlp in (last, best):
        assert set(nlp(SENTENCES[0]).cats) == {"even", "odd"}
    assert not list((tmp_path / "out").rglob(".*"))


def parameters(pipe: Any) -> list[bytes]:
    if hasattr(pipe, "encoder"):
        return [weight.numpy().tobytes() for weight in pipe.encoder.model.state_dict().values()]
    return [
        node.get_param(name).tobytes()
        for node in pipe.model.walk()
        for name in node.param_names
        if node.has_param(name)
    ]


@pytest.mark.parametrize("frozen", ["transformer", "ner", "textcat"])
def test_training_with_frozen_components(
    frozen: str, trained: Callable, overrides: list[object], tmp_path: Path
) -> None:
    steps = ("--training.max_steps", 2, "--training.eval_frequency", 1)
    config = load_config(CONFIGS / "joint.cfg")
    config["training"]["frozen_components"] = [frozen]
    config["training"]["annotating_components"] = [frozen] if frozen == "transformer" else []
    config.to_disk(tmp_path / "config.cfg")
    with pytest.raises(ValueError, match=r"J092|J001"):
        run("train", tmp_path / "config.cfg", "--output", tmp_path / "new", *overrides, *steps)
    for name in ("transformer", "ner", "textcat"):
        config["components"][name] = {"source": str(trained("joint"))}
    config["initialize"]["components"] = {}
    config.to_disk(tmp_path / "config.cfg")
    run("train", tmp_path / "config.cfg", "--output", tmp_path / "out", *overrides[:4], *steps)
    frozen_then, frozen_now = (
        spacy.load(folder).get_pipe(frozen)
        for folder in (trained("joint"), tmp_path / "out" / "model-last")
    )
    assert parameters(frozen_then) == parameters(frozen_now)


@pytest.mark.parametrize("name", FINE_TUNED)
def test_a_trained_pipeline_goes_on_learning(name: str, trained: Callable) -> None:
    nlp = spacy.load(trained(name))
    gold = {"cats": {"even": 1.0, "odd": 0.0}, "entities": [(0, 2, "PERSON")]}
    examples = [Example.from_dict(nlp.make_doc(SENTENCES[1]), gold)]
    assert nlp.create_optimizer() is not nlp.resume_training()
    losses = nlp.update(examples)
    assert all(losses[head] > 0.0 for head in FINE_TUNED[name])
    # Whichever comes first, as spaCy shuffles them: a head says it misses the vectors.
    with pytest.raises((NotImplementedError, ValueError), match=r"J014|J092"):
        nlp.rehearse(examples)


def test_the_readme_trains_any_number_of_labels(overrides: list[object], tmp_path: Path) -> None:
    page = (CONFIGS.parent / "docs" / "textcat.md").read_text(encoding="utf-8")
    several = page.split("## Several labels a text", 1)[1]
    command = several.split("--components.textcat.factory", 1)[1].split("--training.max_steps", 1)[
        0
    ]
    command = f"--components.textcat.factory{command}"
    words = command.replace("\\\n", " ").split()
    steps = ("--training.max_steps", 1, "--training.eval_frequency", 1)
    run("train", CONFIGS / "textcat.cfg", "--output", tmp_path, *overrides, *words, *steps)
    nlp = spacy.load(tmp_path / "model-last")
    # A label isn't right whatever its score is.
    assert load_model_from_config(nlp.config).get_pipe("textcat").cfg["threshold"] == 0.5
