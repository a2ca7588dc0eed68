"""`python -m spacy jbert …`: what spaCy's own commands can't do, one command a file.

spaCy reads this module for each of its commands, to find ours, so what takes long to import is
imported where it is needed."""

import typer
from spacy.cli import app as spacy_app

from .convert import convert_cli
from .debug_data import debug_data_cli
from .errors import errors_cli
from .pieces import pieces_cli

app = typer.Typer(
    name="jbert",
    help="Commands for pipelines with a Japanese BERT.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("convert")(convert_cli)
app.command("pieces")(pieces_cli)
app.command("errors")(errors_cli)
app.command(
    "debug-data", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)(debug_data_cli)
spacy_app.add_typer(app)
