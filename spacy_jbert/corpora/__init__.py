"""Files of text and labels in, Docs in splits out.

A converter (project/scripts) reads files into rows (`readers.py`) and rows into Docs (`docs.py`),
shares these out, writes one DocBin a split and shows what is in them (`splits.py`). The options
that all converters have are in `options.py`. Open `readers.py` first.
"""
