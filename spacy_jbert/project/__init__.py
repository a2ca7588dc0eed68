"""`python -m spacy jbert init`: somebody's data -> a spaCy project for them.

In: what `corpora/inspection.py` found. Out: a folder with project.yml, config, README.
Open `create.py` first; what it says to people is in `wording.py`, the chain in `chain.py`.
"""
