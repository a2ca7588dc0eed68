"""Install packaged pipelines into an empty virtual environment and use them there with the network
off.

What a user does on another machine: `pip install` the wheels, `spacy.load` them by name; annotate a
file in bulk; start the service and ask it. The new environment knows nothing of this checkout;
while the pipelines load and run, opening a connection raises an error (bulk and service open none
but the one that asks)."""

import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import typer

from spacy_jbert.terminal import run

SENTENCES = [
    "来月3日、長野県松本市の信州ホールで開かれる山の音楽祭に、指揮者の水野佳代さんが出演します。",
    "先週届いた空気清浄機から異音がするので、サポート窓口に電話したら、送料込みで4,800円かかると言われてがっかりした。",
    "金沢精機は17日、2026年度の売上高が前年度を1割上回るとの見通しを発表した。",
]

# Runs inside the new environment, isolated (-I) from this checkout and from the user's own
# settings.
PROGRAM = """
import json, socket, sys

def refuse(*args, **kwargs):
    raise OSError("the network is off: a packaged pipeline must not need it")

socket.socket.connect = socket.socket.connect_ex = refuse
socket.create_connection = socket.getaddrinfo = refuse

import spacy

for name in json.loads(sys.argv[1]):
    nlp = spacy.load(name)
    library = sys.modules.get("spacy_jbert")
    assert library is None or library.__file__.startswith(sys.prefix), library
    print(f"{name} {nlp.meta['version']}: {', '.join(nlp.pipe_names)}")
    for doc in nlp.pipe(json.loads(sys.argv[2])):
        print(" ", doc.text)
        for ent in doc.ents:
            print(f"    {ent.text}  {ent.label_}  {ent._.score:.2f}")
        for label, score in sorted(doc.cats.items(), key=lambda item: -item[1])[:2]:
            print(f"    {label}  {score:.2f}")
"""


def main(
    wheels: list[Path], constraints: Path = Path("constraints.txt"), source: Path = Path(".")
) -> None:
    """Install wheels into an empty environment, load the pipelines there without network, annotate
    three sentences; the same in bulk and by the service.

    wheels (list[Path]): Wheels of pipelines, or folders to look for them in.
    constraints (Path): Versions for pip.
    source (Path): The spacy-jbert checkout to build the library's own wheel from.
    """
    found = [
        wheel
        for path in wheels
        for wheel in ([path] if path.is_file() else sorted(path.rglob("*.whl")))
    ]
    if not found:
        print(
            f"No wheel in {', '.join(map(str, wheels))}: run `spacy project run package` first.",
            file=sys.stderr,
        )
        raise typer.Exit(1)
    names = [wheel.name.split("-")[0] for wheel in found]
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder) / "venv"
        python = venv / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        library = Path(folder) / "library"
        _run(
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            library,
            source,
        )
        _run(sys.executable, "-m", "venv", venv)
        print(f"Installing {', '.join(names)} into an empty environment …", flush=True)
        _run(
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-compile",
            "-c",
            constraints.resolve(),
            *(f"{wheel}[serve]" for wheel in library.glob("*.whl")),
            *found,
        )
        _run(
            python,
            "-I",
            "-X",
            "utf8",
            "-c",
            PROGRAM,
            json.dumps(names),
            json.dumps(SENTENCES),
            cwd=folder,
        )
        # As what follows is run in that environment: not -I, which the processes of bulk lack.
        jbert = [python, "-X", "utf8", "-m", "spacy", "jbert"]
        _annotate(jbert, names[0], folder)
        _ask(jbert, names[0], folder)


def _annotate(jbert: list[object], name: str, folder: str) -> None:
    """Annotate a file in bulk, and show its first line."""
    texts = Path(folder) / "texts.txt"
    texts.write_text("\n".join(SENTENCES) + "\n", encoding="utf-8")
    _run(*jbert, "annotate", texts, "--model", name, "--out", "annotated", cwd=folder)
    shard = Path(folder) / "annotated" / "part-00000.jsonl"
    print("In bulk:", shard.read_text(encoding="utf-8").splitlines()[0])


def _ask(jbert: list[object], name: str, folder: str) -> None:
    """Start the service, send it one text, stop it."""
    command = [str(part) for part in (*jbert, "serve", name, "--port", "0")]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as service:
        try:
            assert service.stderr is not None
            lines = iter(service.stderr.readline, "")
            address = next(line.split()[-1] for line in lines if line.startswith("Serving on"))
            request = urllib.request.Request(
                f"{address}/v1/{name}/analyze",
                json.dumps({"text": SENTENCES[0]}).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                print("The service:", answer.read().decode())
        finally:
            service.terminate()


def _run(*command: object, cwd: str | None = None) -> None:
    finished = subprocess.run([str(part) for part in command], cwd=cwd, check=False)
    if finished.returncode:
        raise typer.Exit(finished.returncode)


if __name__ == "__main__":
    run(main)
