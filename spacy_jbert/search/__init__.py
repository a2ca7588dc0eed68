"""Vectors at work: encoders tuned on pairs of texts, indexes that are searched, summaries.

Open first: `index.py`, then `pairs.py` and `callback.py`, `summary.py`."""
