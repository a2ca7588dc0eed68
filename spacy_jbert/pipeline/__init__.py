"""The components: `jbert_transformer` and `jbert_ner`."""
