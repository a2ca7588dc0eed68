"""`python -m spacy jbert …`: what spaCy's own commands can't do, one command a file.

spaCy reads this module for each of its commands, to find ours, so what takes long to import is
imported where it is needed."""

import typer
from spacy.cli import app as spacy_app

from .annotate import annotate_cli
from .convert import convert_cli
from .crossval import crossval_cli
from .debug_data import debug_data_cli
from .demo import demo_cli
from .doctor import doctor_cli
from .drift import drift_cli
from .errors import errors_cli
from .export import export_cli
from .importing import import_cli
from .index import index_cli
from .init import init_cli
from .output import show_tracebacks
from .pieces import pieces_cli
from .report import report_cli
from .search import search_cli
from .seeds import seeds_cli
from .select import select_cli
from .serve import serve_cli
from .threshold import threshold_cli
from .tune import tune_cli

app = typer.Typer(
    name="jbert",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.callback()(show_tracebacks)
app.command("convert")(convert_cli)
app.command("init")(init_cli)
app.command("pieces")(pieces_cli)
app.command("errors")(errors_cli)
app.command("report")(report_cli)
app.command("threshold")(threshold_cli)
app.command("demo")(demo_cli)
app.command("select")(select_cli)
app.command("annotate")(annotate_cli)
app.command("import")(import_cli)
app.command("serve")(serve_cli)
app.command("drift")(drift_cli)
app.command("export")(export_cli)
app.command("index")(index_cli)
app.command("search")(search_cli)
# What follows are settings of the config.
overriding = {"allow_extra_args": True, "ignore_unknown_options": True}
app.command("crossval", context_settings=overriding)(crossval_cli)
app.command("doctor", context_settings=overriding)(doctor_cli)
app.command("seeds", context_settings=overriding)(seeds_cli)
app.command("tune", context_settings=overriding)(tune_cli)
app.command("debug-data", context_settings=overriding)(debug_data_cli)
spacy_app.add_typer(app)
