"""What a project runs: the steps of project.yml, for one corpus and one task."""

from typing import Any

import srsly

from .wording import Lang, say

HEADER = """\
# Written by `python -m spacy jbert init`; it is yours to change.
#   python -m spacy project run all                        every step whose inputs have changed
"""
# Pretraining takes a GPU by itself.
ON_A_GPU = """\
#   python -m spacy project run all . --vars.gpu_id 0      on a GPU
"""
TRAINED = "training/model-best"
REPORT, CARD = "reports/report.html", "reports/meta.json"
META = "meta.json"


def project(
    *,
    title: str,
    variables: dict[str, Any],
    task: str,
    config: str,
    convert: str,
    local_encoder: bool,
    crossval: bool,
    lang: Lang,
) -> str:
    """Write project.yml.

    title (str): Of the project.
    variables (dict[str, Any]): name, version, data, encoder, steps, gpu_id …: what steps read.
    task (str): ner, textcat, textcat_multilabel, joint, adapt or pretrain.
    config (str): The config's path, within the project.
    convert (str): The command line of the conversion.
    local_encoder (bool): Whether the encoder is a file to watch, and no name on a hub.
    crossval (bool): Whether scores come from cross-validation, not from one test part.
    lang (str): Of what is said about the steps.
    RETURNS (str): YAML.
    """
    encoder = ["${vars.encoder}"] if local_encoder else []
    if task in ("adapt", "pretrain"):
        steps = _pretraining(task, config, convert, encoder)
    else:
        steps = _fine_tuning(config, convert, encoder, crossval)
    for step in steps:
        step["help"] = say(step["help"], lang)
    content = {
        "title": title,
        "vars": variables,
        "directories": ["corpus", "training", "metrics", "reports", "packages"],
        "workflows": {"all": [step["name"] for step in steps if step["name"] != "demo"]},
        "commands": steps,
    }
    header = HEADER + (ON_A_GPU if "gpu_id" in variables else "")
    return header + "\n" + srsly.yaml_dumps(content, indent_mapping=2, indent_sequence=4)


def _fine_tuning(
    config: str, convert: str, encoder: list[str], crossval: bool
) -> list[dict[str, Any]]:
    parts = ["corpus/train.spacy", "corpus/dev.spacy"]
    held_out = "corpus/dev.spacy" if crossval else "corpus/test.spacy"
    # The paths and settings that every training is given.
    settings = "--paths.encoder ${vars.encoder} --training.max_steps ${vars.steps}"
    train = (
        f"python -m spacy train {config} --output training --gpu-id ${{vars.gpu_id}} "
        f"--paths.train {parts[0]} --paths.dev {parts[1]} {settings}"
    )
    validate = (
        f"python -m spacy jbert crossval {config} corpus --out metrics/crossval "
        f"--folds ${{vars.folds}} --gpu-id ${{vars.gpu_id}} {settings}"
    )
    accuracy = (
        f"python -m spacy benchmark accuracy {TRAINED} {held_out} --output metrics/test.json "
        "--gpu-id ${vars.gpu_id}"
    )
    evaluate = (
        _step(
            "crossval",
            "validate",
            validate,
            [config, *parts, *encoder],
            ["metrics/crossval/scores.json"],
        )
        if crossval
        else _step(
            "evaluate",
            "evaluate",
            accuracy,
            [TRAINED, held_out],
            ["metrics/test.json"],
        )
    )
    return [
        _step(
            "convert",
            "convert",
            convert,
            ["${vars.data}"],
            parts if crossval else [*parts, held_out],
        ),
        _step(
            "train",
            "train",
            train,
            [config, *parts, *encoder],
            [TRAINED],
        ),
        evaluate,
        _step(
            "report",
            "report",
            f"python -m spacy jbert report {TRAINED} {held_out} --out {REPORT} --card {CARD} "
            f"--meta {META} --gpu-id ${{vars.gpu_id}}",
            [TRAINED, held_out, META],
            [REPORT, CARD],
        ),
        _package(TRAINED, card=CARD),
        _step(
            "demo",
            "demo",
            f"python -m spacy jbert demo {TRAINED}",
            [TRAINED],
            [],
        ),
    ]


def _pretraining(task: str, config: str, convert: str, encoder: list[str]) -> list[dict[str, Any]]:
    pipeline = "training/pipeline"
    begin = "--paths.encoder ${vars.encoder}"
    if task == "pretrain":
        new = "--initialize.components.transformer.encoder"
        begin = f"{new}.size ${{vars.size}} {new}.vocabulary.size ${{vars.vocabulary}}"
    train = (
        f"python -m spacy assemble {config} {pipeline} {begin} --paths.text corpus/text.txt "
        "--paths.output training --initialize.after_init.max_epochs ${vars.epochs} -V"
    )
    return [
        _step("convert", "clean", convert, ["${vars.data}"], ["corpus/text.txt"]),
        _step(
            "train",
            task,
            train,
            [config, "corpus/text.txt", *encoder],
            ["training/encoder", pipeline],
        ),
        _package(pipeline),
        _step(
            "demo", "pieces", f"python -m spacy jbert pieces - --model {pipeline}", [pipeline], []
        ),
    ]


def _package(pipeline: str, card: str = "") -> dict[str, Any]:
    """card (str): The meta.json with the model card, if there is one."""
    package = "packages/ja_${vars.name}-${vars.version}"
    meta = f"--meta-path {card} " if card else ""
    return _step(
        "package",
        "package",
        f"python -m spacy package {pipeline} packages {meta}--name ${{vars.name}} "
        "--version ${vars.version} --build wheel --force",
        [pipeline, card] if card else [pipeline],
        [f"{package}/dist/ja_${{vars.name}}-${{vars.version}}-py3-none-any.whl"],
    )


def _step(
    name: str, about: str, script: str, deps: list[str], outputs: list[str]
) -> dict[str, Any]:
    step: dict[str, Any] = {"name": name, "help": about, "script": [script], "deps": deps}
    return step | ({"outputs": outputs} if outputs else {"no_skip": True})
