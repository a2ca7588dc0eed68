"""Docs in, wordpieces with exact character offsets and windows of them out.

Open `segmentation.py` first: what cuts a Doc. `japanese.py` does it for BertJapaneseTokenizer,
`cache.py` remembers words, `mending.py` keeps what each way promises, `alignment.py` finds the
wordpieces of a token, `windows.py` cuts long texts, `units.py` tokens at wordpieces.
"""
