"""One config -> how far its scores vary by chance: trained with several seeds, tested on the same
documents."""

import hashlib
from pathlib import Path
from typing import Any

from spacy.util import load_config

from ..corpora.lines import check_file
from ..errors import DataError, Errors
from .runs import Run, alone_in, once, settings_text, trained_and_tested
from .summary import Summary, summarised


def train_seeds(
    config: Path,
    out: Path,
    *,
    count: int = 5,
    first: int = 0,
    test: Path | None = None,
    overrides: dict[str, Any] | None = None,
    gpu_id: int = -1,
) -> Summary:
    """Train and test with each seed, and write out/seed-N.json, out/seed-N.jsonl and
    out/scores.json.

    A seed whose scores are there, of the same config, settings and documents, isn't trained again.

    config (Path): The training config.
    count, first (int): The seeds: so many, from the first.
    test (Path | None): A DocBin to test on. None: [paths] dev, on which the best model of each
        training was chosen too, so that scores are somewhat too good.
    overrides (dict[str, Any] | None): Settings, as for `spacy train`.
    RETURNS (Summary): Of the scores that are numbers.
    RAISES: DataError J465 while another process is at it, J468 for a config without data.
    """
    overrides = overrides or {}
    paths = load_config(config, overrides=overrides, interpolate=True).get("paths", {})
    files = {name: paths.get(name) for name in ("train", "dev")}
    if missing := [name for name, file in files.items() if not file]:
        raise DataError(Errors.J468.format(names=" and ".join(missing)), path=config)
    data = [Path(file) for file in files.values()]
    test = test or data[1]
    for file in {*data, test}:
        check_file(file)
    shared = hashlib.sha256(config.read_bytes())
    shared.update(settings_text(overrides).encode())
    for file in (*data, test):
        shared.update(file.read_bytes())
    runs = []
    with alone_in(out):
        for number, seed in enumerate(range(first, first + count), 1):
            settings = {**overrides, "system.seed": seed, "training.seed": seed}

            def work(folder: Path, settings: dict[str, Any] = settings) -> Run:
                return trained_and_tested(config, folder, test, settings, gpu_id)

            print(f"Seed {seed} ({number} of {count})", flush=True)
            run, was_there = once(out, f"seed-{seed}", f"{shared.hexdigest()}-{seed}", work)
            if was_there:
                print(f"  done already ({out / f'seed-{seed}.json'})")
            runs.append(run)
        return summarised(runs, out, "seeds")
