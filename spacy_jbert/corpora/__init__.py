"""Files of text and labels in, Docs in splits out. Open `data.py` first."""
