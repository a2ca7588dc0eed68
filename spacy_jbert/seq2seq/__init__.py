"""A text from a text: an encoder, and a decoder that begins as a copy of it."""
