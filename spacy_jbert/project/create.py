"""What was found in the data -> the files of a project, and what is said about it."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..corpora.inspection import Inspection
from ..errors import DataError, Errors
from ..storage import replacing, replacing_folder
from . import shipped
from .chain import META, project
from .wording import Lang, readme, say, task_name

FEWEST = 10
FEW = 200
"""Under so many texts, one split says little: cross-validation."""
FOLDS = 5
BATCH = {"ner": 300, "textcat": 500, "textcat_multilabel": 500, "joint": 500}
"""Tokens a step, as the configs say."""
PRETRAINING_BATCH = 4096
"""Pieces a step on a CPU: `sizes.batch_size`."""
SIZE = "mini"
"""Of a new encoder."""
CHARACTERS_PER_TOKEN = 1.7
OTHER_TASKS = ("ner", "textcat", "textcat_multilabel", "joint", "adapt", "pretrain")
MULTILABEL = {
    'factory = "textcat"': 'factory = "textcat_multilabel"',
    "threshold = 0.0": "threshold = 0.5",
    "exclusive_classes = true": "exclusive_classes = false",
    "cats_macro_f = 1.0": "cats_macro_f = 0.5",
    "cats_macro_auc = null": "cats_macro_auc = 0.5",
}
IGNORED = "corpus/\ntraining/\nmetrics/\nreports/\npackages/\nproject.lock\n"


@dataclass(frozen=True)
class Plan:
    """A project before it is written."""

    folder: Path
    name: str
    data: Inspection
    encoder: str | None
    """A folder, or a name on a hub; None: the small one that comes along."""
    lang: Lang
    from_scratch: bool = False
    """Whether running text is for a new encoder."""

    @property
    def task(self) -> str:
        """ner, textcat, textcat_multilabel, joint; for running text adapt or pretrain."""
        if self.data.task != "text":
            return self.data.task
        return "pretrain" if self.from_scratch else "adapt"

    @property
    def is_text(self) -> bool:
        return self.data.task == "text"

    @property
    def crossval(self) -> bool:
        return not self.is_text and 0 < self.data.texts < FEW

    @property
    def steps(self) -> int:
        """About eight passes over the data, and no fewer steps than a new head needs to find
        anything."""
        passes = 8 * self.data.characters / CHARACTERS_PER_TOKEN / BATCH[self.task]
        least = 400 if self.task in ("ner", "joint") else 200
        return max(least, min(1500, round(passes / 50) * 50)) if self.data.records else 1500

    @property
    def epochs(self) -> float:
        """Passes of pretraining: three for an encoder that knows its language, ten for a new one;
        more over a text of few steps, fewer where they would take a CPU hours."""
        usual = 10.0 if self.from_scratch else 3.0
        if not self.data.records:
            return usual
        steps = self.data.characters / CHARACTERS_PER_TOKEN / PRETRAINING_BATCH
        passes = max(100 / steps, min(usual, 1500 / steps))
        return float(f"{passes:.2g}")

    @property
    def vocabulary(self) -> int:
        """The wordpieces of a new encoder: a small text has too few words for many."""
        return 4096 if self.data.characters < 5_000_000 else 16384


def check(data: Inspection) -> None:
    """Refuse data that nothing can be learned from.

    RAISES: DataError J322, J323, J329.
    """
    if data.task == "text":
        return
    if data.texts < FEWEST:
        raise DataError(Errors.J322.format(count=data.texts), path=data.path)
    if data.task in ("ner", "joint") and not data.labels:
        raise DataError(Errors.J329.format(count=data.texts), path=data.path)
    if data.task == "textcat" and len(data.labels) == 1:
        (label,) = data.labels
        raise DataError(Errors.J323.format(count=data.texts, label=label), path=data.path)


def check_encoder(encoder: str | None) -> None:
    """Refuse what can't be an encoder. RAISES: ValueError J325, J327."""
    if encoder is None:
        if shipped.small_encoder() is None:
            raise ValueError(Errors.J325)
    elif not (Path(encoder) / "config.json").is_file():
        hub_name = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", encoder)
        if not hub_name or Path(encoder).exists() or encoder.startswith("."):
            raise ValueError(Errors.J327.format(encoder=encoder))


def described(plan: Plan) -> Iterator[str]:
    """YIELDS (str): What was found and what is chosen, a line each."""
    data, lang = plan.data, plan.lang
    if data.records:
        yield say("file", lang, path=data.path, format=data.format, encoding=data.encoding_name)
        longest = max(data.lengths, default=0)
        yield say("records", lang, records=data.records, median=data.median, longest=longest)
        for key in ("empty", "unlabelled", "repeated", "overlapping"):
            if count := getattr(data, key):
                yield say(key, lang, count=count)
        if data.fields:
            yield say("fields", lang, fields=", ".join(data.fields[:20]))
        for key in ("text_field", "label_field", "entities_field"):
            if data.fields and (name := getattr(data, key)):
                yield say(key, lang, name=name)
        if data.separator and any(data.separator in name for name in data.fields):
            yield say("separator", lang, separator=data.separator)
        if data.unlike:
            yield say("spaces", lang, labels=", ".join(map(repr, sorted(set(data.unlike))[:5])))
        if data.labels:
            yield _listed(plan)
        if rare := [label for label, count in data.labels.items() if count < 5]:
            yield say("rare", lang, labels=", ".join(sorted(rare)[:20]))
    else:
        yield say("no_data", lang, path=plan.folder / placeholder(plan))
    others = "|".join(task for task in OTHER_TASKS if task != plan.task)
    yield say("task", lang, task=task_name(plan.task, lang), other=others)
    if plan.crossval:
        yield say("crossval", lang, folds=FOLDS)
    elif not plan.is_text:
        yield say("split", lang)
    if plan.is_text:
        yield say("passes", lang, passes=plan.epochs)
    else:
        yield say("steps", lang, steps=plan.steps)
    if plan.from_scratch:
        yield say("new_encoder", lang, size=SIZE, vocabulary=plan.vocabulary)
    elif plan.encoder is None:
        yield say("small_encoder", lang)
    else:
        yield say("encoder", lang, name=plan.encoder)


def _listed(plan: Plan) -> str:
    found = plan.data.labels.most_common(20)
    labels = [f"{label} {count:,}" for label, count in found]
    if more := len(plan.data.labels) - len(found):
        labels.append(say("more", plan.lang, count=more))
    return say("labels", plan.lang, count=len(plan.data.labels), labels=", ".join(labels))


def placeholder(plan: Plan) -> str:
    """RETURNS (str): Where data are expected in a project that was made without."""
    return "assets/text.txt" if plan.is_text else "assets/data.jsonl"


def write(plan: Plan, *, force: bool = False) -> list[str]:
    """Write the project: all of it or nothing.

    force (bool): Replace files of the project that are there; others stay.
    RETURNS (list[str]): The files, within the folder.
    RAISES: ValueError J324 if one is there.
    """
    files = contents(plan)
    folder = plan.folder
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ValueError(Errors.J324.format(path=folder))
    for name in files:
        if (folder / name).exists() and not force:
            raise ValueError(Errors.J324.format(path=folder / name))
    if folder.exists():
        with replacing(*(folder / name for name in files)) as parts:
            for part, content in zip(parts, files.values(), strict=True):
                part.write_bytes(content)
    else:
        with replacing_folder(folder) as new:
            for name, content in files.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_bytes(content)
    return list(files)


def contents(plan: Plan) -> dict[str, bytes]:
    """RETURNS (dict[str, bytes]): The files of a project, by their path in it."""
    config = f"configs/{config_name(plan.task)}.cfg"
    encoder, copied = ("", {}) if plan.from_scratch else _encoder(plan)
    data = _data(plan)
    variables: dict[str, Any] = {"name": plan.name, "version": "0.1.0", "data": data}
    if plan.from_scratch:
        variables |= {"size": SIZE, "vocabulary": plan.vocabulary}
    else:
        variables["encoder"] = encoder
    if plan.is_text:
        variables["epochs"] = plan.epochs
    else:
        variables |= {"steps": plan.steps, "gpu_id": -1}
    if plan.crossval:
        variables["folds"] = FOLDS
    texts = {
        "project.yml": project(
            title=f"{plan.name}: {task_name(plan.task, plan.lang)}",
            variables=variables,
            task=plan.task,
            config=config,
            convert=convert_command(plan, data),
            local_encoder=bool(copied) or _is_folder(plan.encoder),
            crossval=plan.crossval,
            lang=plan.lang,
        ),
        config: config_text(
            plan.task, steps=0 if plan.is_text else plan.steps, small=plan.encoder is None
        ),
        "README.md": readme(plan.name, plan.task, plan.lang, crossval=plan.crossval),
        ".gitignore": IGNORED,
    }
    if not plan.is_text:
        texts[META] = meta_text(plan, data)
    return {name: text.encode() for name, text in texts.items()} | copied


def convert_command(plan: Plan, data: str) -> str:
    """RETURNS (str): The command line that converts the data."""
    seen = plan.data
    out = "corpus/text.txt" if plan.is_text else "corpus"
    words = ["--out", out, "--task", seen.task]
    if seen.encoding:
        words += ["--encoding", seen.encoding]
    if not plan.is_text:
        words += ["--split", "80/20/0" if plan.crossval else "80/10/10"]
        words += ["--format", seen.format]
        if seen.unlabelled:
            words += ["--skip-unlabelled"]
        if seen.overlapping:
            words += ["--overlaps", "longest"]
    has_fields = bool(seen.fields) or not seen.records
    options = {"--text-field": seen.text_field}
    if not plan.is_text:
        options["--label-field"] = seen.label_field
        options["--entities-field"] = seen.entities_field
        options["--separator"] = seen.separator
    for option, value in options.items():
        if has_fields and value:
            words += [option, value]
    source = quoted(data).replace(data, "${vars.data}")
    return f"python -m spacy jbert convert {source} {' '.join(map(quoted, words))}"


def quoted(word: str) -> str:
    """RETURNS (str): A word of a command line, in quotes if it needs them."""
    return word if re.fullmatch(r"[^\s'\"\\|;&()]+", word) else f'"{word}"'


def config_name(task: str) -> str:
    """RETURNS (str): The config of the repository that a task begins with."""
    return {"textcat_multilabel": "textcat"}.get(task, task)


def config_text(task: str, *, steps: int, small: bool) -> str:
    """RETURNS (str): A complete config, comments included: the repository's, with what this task
    and these data change.
    """
    name = config_name(task)
    text = (shipped.configs() / f"{name}.cfg").read_text(encoding="utf-8")
    if task in ("adapt", "pretrain"):
        changes = {
            r'text = "project/assets/.*"': 'text = "corpus/text.txt"',
            r'output = "project/training/.*"': 'output = "training"',
        }
    else:
        changes = {
            r"max_steps = \d+": f"max_steps = {steps}",
            r"eval_frequency = \d+": f"eval_frequency = {max(25, steps // 6)}",
            r"warmup_steps = \d+": f"warmup_steps = {steps // 10}",
        }
        if small:
            changes[r"initial_rate = \S+"] = "initial_rate = 5e-4"
    if task == "textcat_multilabel":
        changes |= {re.escape(old): new for old, new in MULTILABEL.items()}
    for old, new in changes.items():
        text = re.sub(rf"^{old}$", new, text, flags=re.MULTILINE)
    comment = f"# From spacy-jbert's {name}.cfg; this project's steps give paths and steps.\n\n"
    # The comment at the top names the repository's paths.
    return comment + text[text.index("[paths]") :]


def meta_text(plan: Plan, data: str) -> str:
    """RETURNS (str): What only a person can say of a pipeline and its data, to be filled in: the
    model card takes it over, and says of what is empty that it isn't stated.
    """
    meta = {
        "description": "",
        "author": "",
        "license": "",
        "sources": [{"name": Path(data).name, "url": "", "author": "", "license": ""}],
    }
    return json.dumps(meta, ensure_ascii=False, indent=2) + "\n"


def _is_folder(encoder: str | None) -> bool:
    return encoder is not None and Path(encoder).is_dir()


def _encoder(plan: Plan) -> tuple[str, dict[str, bytes]]:
    """RETURNS (tuple): The encoder as seen from the project, and the files of it to copy."""
    if plan.encoder is not None:
        local = _is_folder(plan.encoder)
        return (_seen_from(plan.folder, Path(plan.encoder)) if local else plan.encoder), {}
    folder = shipped.small_encoder()
    assert folder is not None  # check_encoder
    name = f"assets/{shipped.ENCODER}"
    files = [file for file in sorted(folder.iterdir()) if file.suffix in {".json", ".txt", ".md"}]
    files.append(folder / "model.safetensors")
    return name, {f"{name}/{file.name}": file.read_bytes() for file in files}


def _data(plan: Plan) -> str:
    if not plan.data.records:
        return placeholder(plan)
    return _seen_from(plan.folder, plan.data.path)


def _seen_from(folder: Path, path: Path) -> str:
    """A path as the project's commands name it: relative, so that both can move together."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        # Another drive of Windows.
        return path.resolve().as_posix()
