"""`python -m spacy jbert debug-data`: spaCy's `debug data` for a config with our components, and
what is wrong with annotation that spaCy doesn't look for."""

import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from spacy.cli._util import import_code, parse_config_overrides, show_validation_error
from spacy.cli.debug_data import debug_data
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import (
    get_package_path,
    is_package,
    load_config,
    load_model_from_config,
    registry,
    resolve_dot_names,
)
from thinc.api import Config
from wasabi.printer import Printer

from ..errors import Warnings
from ..terminal import replace_unshowable
from .output import coded_errors

if TYPE_CHECKING:
    from ..wordpieces.segmentation import Segmenter

TRANSFORMER, NER = "jbert_transformer", "jbert_ner"
# Heads with such a part can do nothing without the transformer.
_OURS = ("spacy-jbert.", "spacy-transformers.TransformerListener.")
# What `initialize` of the stock components takes.
_INITIALIZE = {
    "ner": ("labels",),
    "textcat": ("labels", "positive_label"),
    "textcat_multilabel": ("labels",),
}


def debug_data_cli(
    ctx: typer.Context,
    config_path: Annotated[
        Path, typer.Argument(help="Path to config file", exists=True, allow_dash=True)
    ],
    code_path: Annotated[
        Path | None,
        typer.Option(
            "--code-path", "--code", "-c", help="Python file with registered functions to import"
        ),
    ] = None,
    ignore_warnings: Annotated[
        bool,
        typer.Option(
            "--ignore-warnings", "-IW", help="Ignore warnings, only show stats and errors"
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-V", help="Print additional information and explanations")
    ] = False,
    no_format: Annotated[
        bool, typer.Option("--no-format", "-NF", help="Don't pretty-print the results")
    ] = False,
) -> None:
    """Check training and development data as `debug data` does, which doesn't know our components,
    and for what a Japanese encoder minds besides. Loads no weights and trains nothing.

    Takes the options, the overrides and the exit status of spaCy's command.
    """
    replace_unshowable()
    overrides = parse_config_overrides(ctx.args)
    import_code(code_path)
    status: Any = 0
    with coded_errors():
        with show_validation_error(config_path):
            config = load_config(config_path, overrides=overrides).interpolate()
        stock = with_stock_heads(config)
        with tempfile.TemporaryDirectory() as folder:
            stock_path = Path(folder) / "config.cfg"
            stock.to_disk(stock_path)
            try:
                debug_data(
                    stock_path,
                    ignore_warnings=ignore_warnings,
                    verbose=verbose,
                    no_format=no_format,
                    silent=False,
                )
            except SystemExit as exit:  # what it found is bad; what we find may be why
                status = exit.code
        train, dev = read_examples(stock)
        msg = Printer(pretty=not no_format, ignore_warnings=ignore_warnings)
        msg.divider("Japanese and wordpieces")
        segmenter, why_not = find_segmenter(config)
        if segmenter is None:
            msg.info(f"Wordpieces aren't looked at: {why_not}")
        found = list(findings(train, dev, segmenter))
        for finding in found:
            msg.warn(finding)
        if not found:
            msg.good("Nothing that spaCy doesn't look for")
    raise typer.Exit(status)


def with_stock_heads(config: Config) -> Config:
    """The config with spaCy's own component in place of each that listens to the transformer, and
    no transformer.

    config (Config): Without variables, as some refer to what is left out.
    RETURNS (Config): A new one.
    """
    config = config.copy()
    initialize = config.get("initialize", {})
    for name, settings in list(config["components"].items()):
        stock = _stock(_own_settings(name, settings))
        if stock is None:
            del config["components"][name]
            initialize.get("components", {}).pop(name, None)
        elif stock:
            config["components"][name] = stock
            taken = _INITIALIZE.get(stock["factory"])
            given = initialize.get("components", {}).get(name)
            if taken is not None and given is not None:
                initialize["components"][name] = {
                    key: value for key, value in given.items() if key in taken
                }
    left = config["components"]
    for section, key in (
        ("nlp", "pipeline"),
        ("nlp", "disabled"),
        ("training", "frozen_components"),
        ("training", "annotating_components"),
    ):
        names = config.get(section, {}).get(key)
        if names:
            config[section][key] = [name for name in names if name in left]
    # What trains, or is about trained weights.
    for section, key in (
        ("initialize", "after_init"),
        ("initialize", "init_tok2vec"),
        ("training", "before_to_disk"),
    ):
        config.setdefault(section, {})[key] = None
    return config


def _own_settings(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Those of a component, in the pipeline that it comes from if it comes from one."""
    source = settings.get("source")
    if source is None:
        return settings
    path = get_package_path(source) if is_package(source) else Path(source)
    if not (path / "config.cfg").is_file():
        found = sorted(path.glob(f"{source}-*/config.cfg"))
        if not found:
            return settings  # spaCy says what is wrong with it
        path = found[-1].parent
    theirs = load_config(path / "config.cfg").interpolate()["components"]
    own: dict[str, Any] = theirs.get(settings.get("component", name), settings)
    return own


def _stock(settings: dict[str, Any]) -> dict[str, Any] | None:
    """What stands in for a component.

    RETURNS (dict | None): Its settings; empty if it needs nobody; None if it is left out.
    """
    factory = settings.get("factory")
    if factory == TRANSFORMER:
        return None
    if factory == NER:
        return {"factory": "ner"}
    if not _names_ours(settings.get("model", {})):
        return {}
    if factory in ("textcat", "textcat_multilabel", "jbert_textcat"):
        exclusive = settings["model"].get("exclusive_classes", factory == "textcat")
        return {"factory": "textcat" if exclusive else "textcat_multilabel"}
    return {key: value for key, value in settings.items() if key != "model"}


def _names_ours(section: Any) -> bool:
    if not isinstance(section, dict):
        return False
    return str(section.get("@architectures", "")).startswith(_OURS) or any(
        _names_ours(value) for value in section.values()
    )


def find_segmenter(config: Config) -> tuple["Segmenter | None", str]:
    """What cuts texts into the wordpieces of the encoder that the config names. Its tokenizer alone
    is read, and no hub is asked.

    RETURNS (tuple[Segmenter | None, str]): None if there is none yet, and why.
    """
    from ..encoder.files import load_tokenizer
    from ..wordpieces.segmentation import make_segmenter

    for name, settings in config["components"].items():
        settings = _own_settings(name, settings)
        if settings.get("factory") != TRANSFORMER:
            continue
        loader = config["initialize"].get("components", {}).get(name, {}).get("encoder") or {}
        source = loader.get("name", loader.get("vocabulary"))
        if not isinstance(source, str):
            return None, f"no encoder with a vocabulary is named for '{name}'"
        try:
            tokenizer = load_tokenizer(source, loader.get("revision"))
        except (ValueError, ImportError) as error:
            return None, str(error)
        return make_segmenter(tokenizer, settings.get("model", {}).get("words", "auto")), ""
    return None, "the pipeline has no encoder of spacy-jbert"


def read_examples(config: Config) -> tuple[list[Example], list[Example]]:
    """RETURNS (tuple[list[Example], list[Example]]): What is trained and evaluated on."""
    nlp = load_model_from_config(config)
    config = nlp.config.interpolate()
    training = config["training"]
    train, dev = resolve_dot_names(config, [training["train_corpus"], training["dev_corpus"]])
    _initialize_tokenizer(nlp, config)
    return list(train(nlp)), list(dev(nlp))


def _initialize_tokenizer(nlp: Language, config: Config) -> None:
    """With the user dictionaries, as its tokens are compared with entities."""
    if hasattr(nlp.tokenizer, "initialize"):
        settings = registry.resolve({"tokenizer": config["initialize"]["tokenizer"]})["tokenizer"]
        nlp.tokenizer.initialize(lambda: [], nlp=nlp, **settings)


def findings(
    train: list[Example], dev: list[Example], segmenter: "Segmenter | None" = None
) -> Iterator[str]:
    """What is wrong with annotation, beyond what spaCy looks for, as coded messages.

    train (list[Example]): To learn from.
    dev (list[Example]): To evaluate on.
    segmenter (Segmenter | None): The encoder's wordpieces, if they are known.
    """
    from ..corpora.docs import labels_of
    from ..corpora.splits import alike, contradictions, plain
    from ..corpora.values import trimmed

    for part, examples in (("training", train), ("evaluation", dev)):
        entities = [ent for eg in examples for ent in eg.reference.ents]
        spaced = [
            ent.text
            for ent in entities
            if trimmed(ent.text, 0, len(ent.text)) != (0, len(ent.text))
        ]
        if spaced:
            yield Warnings.JW240.format(
                count=len(spaced), total=len(entities), part=part, examples=_shown(spaced)
            )
        in_tokens, in_pieces = _inexpressible(examples, segmenter)
        if in_tokens:
            yield Warnings.JW241.format(
                count=len(in_tokens),
                total=len(entities),
                part=part,
                examples=_shown(map(_with_tokens, in_tokens)),
            )
        if in_pieces:
            yield Warnings.JW242.format(
                count=len(in_pieces),
                total=len(entities),
                part=part,
                examples=_shown(ent.text for ent in in_pieces),
            )
    learned, tested = ([eg.reference for eg in examples] for examples in (train, dev))
    labels = [{label for doc in docs for label in labels_of(doc)} for docs in (learned, tested)]
    if pairs := alike(set.union(*labels)):
        yield Warnings.JW243.format(labels=", ".join(pairs))
    if unseen := labels[1] - labels[0]:
        yield Warnings.JW201.format(count=len(unseen), labels=", ".join(sorted(unseen)))
    texts = [{plain(doc.text): doc.text for doc in docs} for docs in (learned, tested)]
    if both := texts[0].keys() & texts[1].keys():
        yield Warnings.JW244.format(
            count=len(both), total=len(texts[1]), examples=_shown(texts[1][key] for key in both)
        )
    if different := contradictions(chain(learned, tested)):
        yield Warnings.JW211.format(
            count=len(different),
            examples=_shown(
                f"{one.text[:40]} ({' / '.join(sorted(one.annotations))})" for one in different
            ),
        )


def _inexpressible(
    examples: list[Example], segmenter: "Segmenter | None"
) -> tuple[list[tuple[Doc, Span]], list[Span]]:
    """The entities that start or end inside a token of the pipeline, with its tokens, and those of
    them for which that holds even where wordpieces end.
    """
    from ..wordpieces.alignment import token_offsets
    from ..wordpieces.units import unit_ends, unit_starts

    torn = [
        (eg.predicted, ent)
        for eg in examples
        for ent in eg.reference.ents
        if eg.predicted.char_span(ent.start_char, ent.end_char) is None
    ]
    if segmenter is None:
        return torn, []
    docs = list({id(doc): doc for doc, _ in torn}.values())
    borders = {}
    for doc, pieces in zip(docs, segmenter(docs), strict=True):
        starts, ends = token_offsets(doc)
        units = unit_ends(starts, ends, pieces.ends)
        borders[id(doc)] = (
            set(unit_starts(starts, ends, units).tolist()),
            set(units.tolist()),
        )
    return torn, [
        ent
        for doc, ent in torn
        if ent.start_char not in borders[id(doc)][0] or ent.end_char not in borders[id(doc)][1]
    ]


def _with_tokens(torn: tuple[Doc, Span]) -> str:
    doc, ent = torn
    around = doc.char_span(ent.start_char, ent.end_char, alignment_mode="expand")
    return f"{ent.text} in {' '.join(token.text for token in around or ())}"


def _shown(texts: Iterable[str], most: int = 3) -> str:
    """The first few, each once."""
    different = sorted(set(texts))
    short = (text if len(text) <= 60 else f"{text[:59]}…" for text in different[:most])
    return ", ".join(map(repr, short)) + (" …" if len(different) > most else "")
