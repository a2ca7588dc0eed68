"""Text in, Docs out: Sudachi as a spaCy tokenizer. Open `sudachi.py` first."""
