"""The architectures: the encoder as a thinc model, the listener that reads it, and what heads put
on top.
"""
