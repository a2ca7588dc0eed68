"""Vectors at work: encoders tuned on pairs of texts, and indexes that are searched.

Open first: `index.py`, then `pairs.py` and `callback.py`."""
