"""Files of text and labels in, Docs in splits out: `python -m spacy jbert convert`.

Open `records.py` first: rows of a file (`readers.py`, `tables.py`) or of an annotation tool
(`importers.py`) become Docs (`docs.py`), are shared out, written and counted (`splits.py`). Tagged
tokens (`iob.py`) and DocBins (`docbins.py`) come their own way; running text is pretraining's.
"""
