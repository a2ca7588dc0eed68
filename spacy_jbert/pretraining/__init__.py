"""Masked-LM pretraining inside `nlp.initialize()`.

From text to encoder: `text` reads and cleans, `vocabulary` trains wordpieces, `corpus` packs
samples on disk, `batches` and `masking` turn a position in training into tensors, `objective` is
the module that is trained, `trainer` trains it, `run` does that once and writes what came of it,
`callback` ties it all to the config (`settings`).
"""
