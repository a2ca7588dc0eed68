"""A checkpoint folder (or a name on the hub) in, a torch encoder with its tokenizer out, and back.

Open `checkpoint.py` first: the encoder, how it is loaded and saved. `files.py` reads and checks
config and tokenizer, `settings.py` what they may say, `loaders.py` has what a config can name,
`forward.py` runs the model. `windows.py` is what any encoder says of its windows, `onnx.py` the one
that onnxruntime runs, `onnx_export.py` makes it.
"""
