"""Docs in, wordpieces with exact character offsets and windows of them out.

Open `segmentation.py` first.
"""
