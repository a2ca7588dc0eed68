"""Annotated Docs in, scores, calibrated confidence and reports out. Open `scorers.py` first."""
