"""Checkpoint folders in, torch encoders with their tokenizers out. Open `checkpoint.py` first."""
