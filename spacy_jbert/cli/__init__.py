"""The commands of `python -m spacy jbert`. Open `app.py` first."""
