"""A first-class Japanese BERT for spaCy: exact wordpieces, NER and text classification heads,
pretraining, offline wheels.
"""

import logging
from importlib.metadata import version

__version__ = version("spacy-jbert")

# What this package logs goes where spaCy's own messages go, at spaCy's level: its command line
# shows no other logger.
logging.getLogger(__name__).parent = logging.getLogger("spacy")
