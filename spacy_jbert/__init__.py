"""A first-class Japanese BERT for spaCy: exact wordpieces, NER and text classification heads, pretraining, offline wheels."""

from importlib.metadata import version

__version__ = version("spacy-jbert")
