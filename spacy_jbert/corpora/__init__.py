"""Files of text and labels in, Docs in splits out: `python -m spacy jbert convert`.

Open `records.py` first: rows of a file (`readers.py`) or of an annotation tool (`importers.py`)
become Docs (`docs.py`), are shared out, written and counted (`splits.py`). Tagged tokens (`iob.py`)
and DocBins (`docbins.py`) come their own way; running text is pretraining's.

Below the rows: bytes (`encodings.py`), lines (`lines.py`), JSON (`json_records.py`), CSV and TSV
(`delimited.py`), Parquet and Excel (`tables.py`), and what a value may be (`values.py`).
"""
