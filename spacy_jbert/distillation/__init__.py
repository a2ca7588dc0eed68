"""A small pipeline learns what a large one says of raw text."""
