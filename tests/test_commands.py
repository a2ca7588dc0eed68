"""spaCy's own commands on the configs that are shipped, and on what is trained from them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import spacy
from spacy.cli import app
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.util import load_config, load_model_from_config
from typer.main import get_command

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


@pytest.mark.parametrize("name", ["ner", "textcat", "joint", "pretrain", "adapt"])
def test_fill_config_adds_nothing(name: str, tmp_path: Path) -> None:
    run("init", "fill-config", CONFIGS / f"{name}.cfg", tmp_path / "filled.cfg")
    assert load_config(tmp_path / "filled.cfg") == load_config(CONFIGS / f"{name}.cfg")


def check_config(config: Path, overrides: list[object], heads: list[str], out: Path) -> None:
    run("debug", "config", config, *overrides)
    with pytest.raises(SystemExit) as low_number_of_examples:
        run("debug", "data", config, *overrides)
    assert low_number_of_examples.value.code == 1
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


@pytest.mark.parametrize("name", FINE_TUNED)
def test_a_trained_pipeline_goes_on_learning(name: str, trained: Callable) -> None:
    nlp = spacy.load(trained(name))
    gold = {"cats": {"even": 1.0, "odd": 0.0}, "entities": [(0, 2, "PERSON")]}
    examples = [Example.from_dict(nlp.make_doc(SENTENCES[1]), gold)]
    assert nlp.create_optimizer() is not nlp.resume_training()
    losses = nlp.update(examples)
    assert all(losses[head] > 0.0 for head in FINE_TUNED[name])
    # Whichever comes first, as spaCy shuffles them: a stock head says it misses the vectors.
    with pytest.raises((NotImplementedError, ValueError), match=r"J014|E203"):
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
