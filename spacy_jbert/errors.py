"""Every message of spacy-jbert, each with a code one can search for.

As in spaCy, a message is read off the class (`Errors.J001.format(...)`) and comes with its code in
front. A message says what was wrong, in which file, line or setting, and what to do about it.
Ranges: J0xx pipeline, J1xx pretraining, J2xx data, J3xx evaluation and packaging; the same for
warnings (`Warnings.JW...`)."""

from pathlib import Path


class _WithCodes(type):
    """Puts the attribute's own name in front of the message."""

    def __getattribute__(cls, name: str) -> str:
        message = super().__getattribute__(name)
        return message if name.startswith("_") else f"[{name}] {message}"


class DataError(ValueError):
    """A file that can't be used as it is: raised by readers and converters, shown without a
    traceback by the scripts.

    message (str): The coded message, formatted.
    path (Path | None): The file at fault.
    line (int | None): The line in it, counted from 1.
    """

    def __init__(
        self, message: str, *, path: Path | str | None = None, line: int | None = None
    ) -> None:
        place = "" if path is None else f"{path}: " if line is None else f"{path}, line {line}: "
        super().__init__(place + message)
        self.path = path
        self.line = line


class Errors(metaclass=_WithCodes):
    # --- J0xx: encoder, pieces, pipes -------------------------------------------------------------
    J001 = (
        "The transformer '{name}' has no encoder. Give one in the config, "
        '[initialize.components.{name}.encoder] with @misc = "spacy-jbert.HFEncoder.v1" or '
        '"spacy-jbert.NewEncoder.v1", or load the component from a trained pipeline.'
    )
    J002 = (
        "Can't load an encoder from '{name}': {reason} Give a folder that holds config.json, "
        "model.safetensors (or pytorch_model.bin) and the tokenizer's files, or the name of a "
        "model that is on the hub or in the local hub cache."
    )
    J003 = (
        "The encoder folder '{path}' lacks {missing}. It is not a complete checkpoint: copy the "
        "missing files or save it again."
    )
    J004 = (
        "Can't reach the model hub for '{name}' and it is not in the local cache. Download it once "
        "on a machine with network (huggingface-cli download {name}), or pass the path of a local "
        "folder."
    )
    J005 = "words = '{words}' is not one of 'auto', 'doc', 'native'."
    J006 = (
        "The tokenizer {tokenizer} of this encoder can't be run with words = 'native': {reason} "
        "Use words = 'doc', which feeds it the Doc's own tokens."
    )
    J007 = "The tokenizer of this encoder needs the package '{package}': pip install {install}"
    J008 = "The settings of spacy-jbert.NewEncoder.v1 don't fit together: {reason}"
    J009 = (
        "The encoder saved with component '{name}' is damaged or incomplete ({reason}). Copy the "
        "pipeline again, or package it again."
    )
    J010 = "precision = '{precision}' is not one of 'fp32', 'bf16', 'fp16'."
    J011 = (
        "overlap = {overlap} has to be at least 0 and less than half of a window ({limit} pieces)."
    )
    J012 = "The label '{label}' can't be used for entities: it has to be a non-empty string."
    J013 = (
        "Component '{name}' has no labels: none of the training documents has an entity. "
        "Check [paths] train, or give the labels in [initialize.components.{name}.labels]."
    )
    J014 = (
        "Component '{name}' can't rehearse: it has no older version of itself to stay close to. "
        "Use nlp.update on mixed data instead."
    )
    J015 = "pooling = '{pooling}' is not one of {choices}."
    J016 = "layers = {layers} has to be 1 or more, or null for all."
    J050 = (
        "candidates_threshold = {threshold} has to be above 0, as every span has some probability, "
        "and not above 1."
    )
    J051 = (
        "'{text}' ({label}) is an entity and also in spans['{key}'], which are no entities. "
        "Correct one of them."
    )
    J052 = (
        "Component '{name}' has misaligned = '{misaligned}'. misaligned = 'split' and pooling = "
        "'units' of its spacy-jbert.TransformerListener.v1 need each other: set both, or neither."
    )
    J053 = (
        "Component '{name}' has misaligned = 'split', so it can't be among [training] "
        "annotating_components: it would change the tokens of a batch that other components are "
        "still learning from. Take it out, or set misaligned = 'count' (and pooling = 'mean')."
    )
    J054 = (
        "Component '{name}' can't go on: {what} not a number, or infinite. The weights are beyond "
        "use. Lower [training.optimizer] learn_rate, lengthen its warmup, use precision = 'fp32', "
        "and go on from the last good model (model-best, model-last)."
    )
    J055 = (
        "The scores of tags, or of transitions between labels, add up to nothing that is a number. "
        "The model's weights are damaged, or training went wrong: load the last good model."
    )
    J056 = (
        "temperature = {temperature} can't be used: it has to be a number above 0, and finite. "
        "Set it to 1.0, or let spacy-jbert.calibrate.v1 fit it."
    )
    J057 = (
        "The text classifier can't go on: {what} not a number, or infinite. Lower "
        "[training.optimizer] learn_rate, lengthen its warmup, use precision = 'fp32', check the "
        "values of cats in the data, and go on from the last good model (model-best, model-last)."
    )
    J058 = "{name} = {value} can't be used: it has to be a number above 0, and finite."
    J059 = (
        "Span._.{name} was registered by something else, but jbert_ner keeps the confidence of "
        "entities there. Register yours under another name, or remove it: "
        "Span.remove_extension('{name}')."
    )
    J071 = (
        "Can't fit probabilities: the loss at temperature {temperature:.3g} is {loss}. The scores "
        "or the annotation of the held-out documents hold what is not a finite number."
    )
    J072 = (
        "A confidence of {value} can't be evaluated: confidences are from 0 to 1. The pipeline's "
        "weights are damaged, or another component wrote it."
    )
    J070 = (
        "Component '{name}' is to get a threshold for each label, but its scorer takes only one "
        "for all. Set @scorers = 'spacy-jbert.textcat_scorer.v1' in [components.{name}.scorer], or "
        "thresholds = false in spacy-jbert.calibrate.v1."
    )
    J040 = "{name} = '{value}' is not one of {choices}."
    J042 = (
        "gradient_checkpointing = true can't be used with this encoder: {model} has no support for "
        "it in transformers."
    )
    J020 = "The tokenizer's {setting} = {value!r} can't be used: it has to be {choices}."
    J021 = (
        "The tokenizer's dict = {name!r} is not one of {choices}. A dictionary file of your own "
        "goes into the config as [initialize.tokenizer] system_dict, or user_dicts."
    )
    J022 = (
        "The tokenizer needs Sudachi's {name} dictionary, which isn't installed: pip install "
        "sudachidict-{name}"
    )
    J023 = "The tokenizer can't find the file '{path}'. Check the paths in [initialize.tokenizer]."
    J024 = (
        "'{path}' doesn't hold Sudachi's settings, a JSON object such as the sudachi.json that "
        "comes with sudachipy: {reason}"
    )
    J025 = (
        "Sudachi can't use {files}: {reason}. Dictionaries have to be compiled, user dictionaries "
        "with `sudachipy ubuild -s system.dic -o user.dic user.csv`; there can be 14 of them."
    )
    J026 = (
        "Sudachi's settings name the plugin {name!r} in {kind}. Plugins that aren't Sudachi's own "
        "are native code, and none is loaded for a pipeline, be it from a saved one or from "
        "[initialize.tokenizer] config. These can be used there: {known}."
    )
    J027 = (
        "Sudachi's settings ([initialize.tokenizer] config, or the tokenizer's cfg in a saved "
        "pipeline) can't be used: {setting} = {value!r}: {reason}"
    )
    J028 = (
        "The file {name!r} of a saved tokenizer can't be used: {reason} Dictionaries are saved as "
        "files beside each other, tokenizer/files/user_00.dic and so on; copy links as files "
        "(cp -L)."
    )
    J029 = (
        "The saved tokenizer is damaged or incomplete ({source}): {reason} Copy the pipeline "
        "again, or save it again."
    )
    J080 = (
        "The gradient that reached '{name}' is not a number (nan or infinite). Its weights stay as "
        "they were before this batch. Lower the learning rate, set grad_clip = 1.0, or use "
        "precision = 'bf16' or 'fp32'; go on from the last saved model."
    )
    J081 = (
        "The encoder can't be saved: {count} of its weights have values that are no numbers (nan "
        "or infinite), for example {example}. What was saved before stays. Lower the learning rate."
    )
    J084 = (
        "Out of memory over one document of {length} characters ({reason}). Lower "
        "max_batch_pieces ({budget}) or window in [components.{name}.model], or cut the document."
    )
    J085 = (
        "device = '{device}' is no device. Give 'auto', which follows spaCy, or one of torch's, "
        "such as 'cpu' or 'cuda:0'."
    )
    J086 = (
        "window = {window} has no room for a wordpiece beside the encoder's special ones: give "
        "{least} at least, or null for the encoder's own limit."
    )
    J087 = "[components.<name>.model] {name} = {value!r} can't be used: it has to be {wanted}."
    J082 = (
        "The encoder of '{name}' gives vectors that are no numbers (nan or infinite). Its weights "
        "are damaged, or precision = 'fp16' is too narrow for them: load a good model, or use "
        "precision = 'bf16' or 'fp32'."
    )
    J090 = (
        "'{head}' is not of the same save as the encoder that it listens to: '{name}' is of "
        "{ours}, '{head}' of {theirs}. Saving was cut off before it was complete, or folders of "
        "two pipelines were put together. Save the whole pipeline again; to use a component of "
        "another pipeline, nlp.add_pipe(..., source=...)."
    )
    J091 = (
        "'{name}' can't be read from {where}: it is damaged or incomplete ({reason}). Save the "
        "whole pipeline again, or copy it again."
    )
    J092 = (
        "A component that listens to the transformer gets no vectors, as the transformer has not "
        "run on this batch (spaCy's E203). In nlp.rehearse it never does: use nlp.update on mixed "
        "data instead. Where it is in frozen_components or excluded, name it in "
        "annotating_components too. spaCy initializes nothing that is frozen: that has to come "
        "from a trained pipeline (source)."
    )
    J093 = (
        "A component that listens to the transformer is to learn from other documents than the "
        "transformer ran on, or their tokens were changed in between. Give both the same batch, "
        "and let no component that changes tokens annotate in training."
    )
    J094 = (
        "spacy-transformers.TransformerListener.v1 can't pool a batch in which no document has a "
        "token. Leave empty documents out, or use spacy-jbert.TransformerListener.v1."
    )
    J095 = "'{path}' can't be read or written: {reason}."
    J096 = (
        "Sudachi failed over a text of {length} characters ({reason}): a dictionary is damaged, "
        "most likely one of {files}. Compile user dictionaries again, or install sudachidict again."
    )
    J097 = (
        "Training was interrupted (Ctrl-C). What was complete in '{path}', prepared text and "
        "checkpoints, is kept: run the same command again to go on from there."
    )
    J098 = (
        "The config of '{name}' asks for about {count:,} weights, {size:,.0f} GB, and {limit}. "
        "Correct its sizes (hidden_size, num_hidden_layers, intermediate_size, vocab_size, "
        "max_position_embeddings)."
    )
    J099 = (
        "A component that listens to the transformer '{wanted}' would read the vectors of "
        "'{found}', which comes between them and overwrites doc._.trf_data. Put the component "
        "before '{found}', or make '{found}' its upstream and train it again."
    )
    J030 = (
        "There is no model '{model}'. Give the folder of a spaCy pipeline, the name of an "
        "installed pipeline package, or a Hugging Face checkpoint folder (config.json, the weights "
        "and the tokenizer's files)."
    )
    J031 = (
        "The pipeline has no encoder of spacy-jbert. Its components are: {names}. Give one with a "
        "jbert_transformer."
    )
    J032 = "The text is empty. Give one, or - to read it from stdin."
    J033 = (
        "The text on stdin is not UTF-8 (byte {position}). Convert it first, for example: iconv -f "
        "CP932 -t UTF-8."
    )
    J060 = (
        "The checkpoint names Python code of its own (auto_map: {code}), and such code is never "
        "run. Use a checkpoint of an architecture that transformers has itself; if this is one, "
        "remove auto_map from the file."
    )
    J061 = (
        "These bytes can't be read as a model: {reason}. Give what to_bytes of a pipeline or "
        "component returned, whole and unchanged."
    )
    J062 = (
        'This encoder was trained with layers = "mix", a learned mean of its layers, which is gone '
        'as it was no better than the last one. Train again with layers = "last".'
    )
    J063 = (
        "{setting} = {value} is from transformers {written}, and transformers {running} here can't "
        "express it: the vectors would be others. Use a checkpoint that transformers 4 saved."
    )
    J064 = "{setting} = {value} can't be right: it has to be {expected}. Correct it in the file."
    J065 = (
        "The tokenizer of '{name}' gives ids up to {highest}, and the encoder has embeddings for "
        "{rows} pieces only. Use the tokenizer that belongs to this encoder, or add the missing "
        "rows: model.resize_token_embeddings({needed}), then save both."
    )
    J066 = (
        "The tokenizer of '{name}' has no piece for what it doesn't know ({reason}). Add its "
        "unknown token, {unknown}, to its vocabulary, or use the tokenizer that belongs to the "
        "encoder."
    )
    J067 = (
        "Weights of the encoder '{name}' hold NaN or infinity: {weights}. It would give no vectors "
        "of any sense. Take an earlier checkpoint, or download it again."
    )
    J068 = (
        "tokenizer_class = {tokenizer!r}, from transformers {written}, is unknown to transformers "
        "{running} here. Save the tokenizer with transformers 4, or put its tokenizer.json into "
        "the folder: that can be read whatever the class."
    )
    J485 = (
        "The transformer gave only some of a document's windows to a component that needs a vector "
        "for each token. train_windows and predict_windows of [components.<name>.model] are for "
        "'spacy-jbert.PooledTextCat.v1': set both to null in a pipeline with other heads."
    )
    J486 = "[components.<name>.model] {name} = {value!r} can't be used: give {least} to {most}."
    J488 = (
        "There is no linear baseline of {count} training documents with {labels} labels: it takes "
        "documents of two labels at least."
    )
    # --- J1xx: pretraining ------------------------------------------------------------------------
    J101 = (
        "Can't read text for pretraining from '{path}': {reason} Check [paths] and the setting "
        "'path'."
    )
    J102 = (
        "Nothing is left to train on after cleaning the text in {path}: {counts}. "
        "Give Japanese text, a sentence or a paragraph a line, or lower min_characters."
    )
    J103 = (
        "Pretraining can't find the component '{name}'. The pipeline has: {names}. Set component "
        "to the name of a jbert_transformer."
    )
    J104 = (
        "The component '{name}' has no encoder to pretrain. Give one in "
        "[initialize.components.{name}.encoder], and run pretraining in [initialize.after_init], "
        "not before_init."
    )
    J105 = (
        "The tokenizer {tokenizer} has no mask piece, so its encoder can't be trained as a masked "
        "language model."
    )
    J106 = (
        "The loss at step {step} is {loss}. Training stopped; the last complete checkpoint is "
        "kept, the batch is in {path} (torch.load). Lower learn_rate, lengthen warmup, or use "
        "precision = 'fp32'."
    )
    J107 = "Can't write to the output folder '{path}': {reason}"
    J108 = "{setting} = {value!r} can't be used: {reason}"
    J109 = "Training an encoder needs the package '{package}': pip install 'spacy-jbert[pretrain]'"
    J110 = (
        "Training was told to stop ({signal}). The last complete checkpoint is of step {step} "
        "of {steps}. Run the same command again to go on from there."
    )
    J130 = (
        "fsdp = true needs several CUDA GPUs, a process for each (torchrun --nproc-per-node), and "
        "an encoder whose layers have weights of their own."
    )
    J131 = "report_to = '{package}' needs a package: pip install {package}"
    J133 = (
        "Another process is pretraining in the output folder '{path}'. Wait until it has ended, or "
        "choose another output."
    )
    J134 = (
        "The encoder is trained, but can't be written to '{path}': {reason}. The last complete "
        "checkpoint is of step {step} of {steps}. Make room there and run the same command again: "
        "it goes on from that checkpoint."
    )
    J135 = (
        "The weights are no numbers (nan or infinite) after step {step}: {name}. Training stopped "
        "before they were saved; the last complete checkpoint is kept. Lower learn_rate, lengthen "
        "warmup, or use precision = 'fp32'."
    )
    J136 = "The loss on the held-out part is {loss} after step {step}: the encoder is not saved."
    J137 = (
        "A new process ran this script again before it could do its work. Put what the script does "
        'under: if __name__ == "__main__":'
    )
    # --- J2xx: data -------------------------------------------------------------------------------
    J201 = "The file doesn't exist. Run `spacy project assets`, or give the right path."
    J202 = "The file is empty."
    J203 = (
        "The file is not UTF-8 (byte {byte} at position {position}). Give its encoding, "
        "--encoding {guess}, or convert it first: iconv -f {guess} -t UTF-8."
    )
    J204 = "Broken JSON: {reason}"
    J205 = "Each record has to be a JSON object with its fields, not a {kind}."
    J206 = "There is no field '{field}'. The fields here are: {fields}."
    J207 = "The field '{field}' has to hold {expected}, not {value}."
    J208 = (
        "This row has {found} columns, but the header has {expected}: {header}. "
        "A value that holds the delimiter, a quote or a line break has to stand in quotes."
    )
    J209 = "Can't read the table: {reason}"
    J210 = (
        'The entity {entity} has none of the known forms: [start, end, label], {{"start", "end", '
        '"label"}}, {{"start_offset", "end_offset", "label"}}, {{"span": [start, end], "type", '
        '"name"}}.'
    )
    J211 = (
        "The span [{start!r}, {end!r}] can't be an entity of this text, which has {length} "
        "characters: start and end have to be whole numbers with 0 <= start < end <= {length}."
    )
    J212 = (
        "The entity is named {name!r}, but its span holds {found!r}. Spans count characters, not "
        "bytes or UTF-16 units."
    )
    J213 = (
        "The entities {first!r} and {second!r} overlap. Correct them, or keep the longest with "
        "--overlaps longest."
    )
    J214 = "A label has to be a text that isn't empty, not {label}."
    J215 = (
        "The text {value} holds half a character (a lone surrogate, at position {position}). "
        "Correct the escape sequence."
    )
    J216 = "The packed file is damaged or incomplete: {reason}"
    J217 = "No entity and no category in any of the files. Check which field or column holds them."
    J218 = "--split '{ratio}' has to be three whole numbers that add up to 100, such as 80/10/10."
    J219 = (
        "Nothing is left for '{name}'. Give more data or other settings; with --split, 0 is for a "
        "split that isn't wanted."
    )
    J220 = (
        "The field '{field}' names the split {value!r}, which is none of train, dev (valid, "
        "validation, val) and test."
    )
    J221 = "Give either one file, which is then split, or files by --train, --dev and --test."
    J222 = (
        "The tag {tag!r} is neither O nor one of the prefixes B- I- E- L- S- U- M- with a label. "
        "Check --tag-column and --delimiter."
    )
    J223 = (
        "The line has {found} columns instead of {expected}. Check --delimiter ({delimiter!r} is "
        "used) and the column numbers."
    )
    J224 = "Not a spaCy DocBin, or a damaged one ({reason}). Write it again with DocBin.to_disk."
    J225 = (
        "The field '{field}' holds {count} labels, but one is expected. With --task "
        "textcat_multilabel a text may have any number; --skip-unlabelled leaves out those "
        "without."
    )
    J226 = "The folder holds no .spacy file. Give a DocBin, or a folder of them."
    J250 = (
        "These fields are of no annotation tool that is known: {fields}. Known are {tools}; name "
        "one, or use the converter for plain records."
    )
    J253 = "There is no annotation tool '{tool}' here. Known are {tools}, and brat."
    J251 = "The folder holds no .ann file. Give brat's folder of .txt and .ann files."
    J252 = (
        "This line is no entity of brat's: {line!r}. It has to be T1<tab>LABEL START END<tab>TEXT."
    )
    J254 = (
        "The file can't be read as {encoding}: {reason}. Leave --encoding out to be told what it "
        "looks like."
    )
    J255 = "Reading this needs the package {package}: pip install 'spacy-jbert[{extra}]'"
    J256 = (
        "A map of labels has to be a JSON object of old and new labels, or a CSV or TSV file with "
        "a header and two columns. A label that becomes nothing is left out."
    )
    J257 = "There is no encoding '{encoding}' ({reason}). Give utf-8, cp932, euc_jp or utf-16."
    J258 = (
        "The folder holds no .txt file. Give one folder a label with one text a file, or name the "
        "format with --format."
    )
    J259 = "--task {task} can't be had from {format} data. {reason}"
    J263 = "The config has no section [convert] that can be read: {reason}"
    J264 = "[convert] has settings that there aren't: {names}. There are {known}."
    J260 = "'{path}' is what is converted, so it can't be what is written. Give another --out."
    J261 = "'{path}' can't be {done}: {reason}."
    J265 = "Running text has no labels and no parts, so {options} can't be used with --task text."
    J262 = "{options} can't be used with {format} data: its records have no fields."
    J227 = (
        "The file is {guess}, not UTF-8. Give its encoding to `jbert convert`, --encoding {guess}, "
        "or convert it first: iconv -f {guess} -t UTF-8."
    )
    J228 = (
        "The file is UTF-8, but damaged here (byte {byte} at position {position}): it was cut off "
        "within a character, or holds bytes of another encoding too. Get it again, or correct the "
        "line."
    )
    J229 = (
        "The label {label} holds a control character, a line break or something else that can't be "
        "seen. Correct it; labels are written into configs and tables."
    )
    J230 = (
        "A line or a record is longer than {limit:,} bytes. Give one record a line, or put line "
        "breaks into the text."
    )
    J231 = (
        "Files packed as {suffix} can't be read. Unpack it first, or pack it as .gz, .xz, .bz2 or "
        ".zst."
    )
    J232 = (
        "The category {label!r} of document {number} has the value {value}. It has to be a number "
        "from 0 to 1."
    )
    J233 = "--out has to be a folder, and '{path}' is a file. Give another name."
    J301 = (
        "No encoder is named. Give a folder or a model's name on the hub, for a shipped config by "
        "--paths.encoder, or --initialize.components.transformer.encoder.name in general. The "
        "config of a trained pipeline names none either, as the encoder is in the pipeline: "
        "load it with spacy.load, or name the folder transformer/model in the pipeline's folder."
    )
    # --- J3xx: evaluation and packaging -----------------------------------------------------------
    J302 = (
        "Component '{name}' has weights that are no numbers (nan or infinite), so nothing is saved "
        "and what was saved before stays. Lower the learning rate, or set grad_clip = 1.0."
    )
    J310 = (
        "The pipeline finds neither entities nor categories, so there are no mistakes to list. Its "
        "components are: {names}. Scores of others: python -m spacy benchmark accuracy."
    )
    J311 = (
        "{path} has no {kinds} annotated in any of its {count} documents, so nothing can be said "
        "about mistakes. Give annotated documents, and check how they were converted."
    )
    J312 = (
        "The pipeline knows none of the labels in the data, so the two can't be compared. It knows "
        "{known}; the data has {annotated}. Give the data it was made for, or rename the labels."
    )
    J313 = (
        "--label {labels}: neither the pipeline nor the data has it. Check the spelling; upper and "
        "lower case differ."
    )
    J315 = (
        "The text on stdin is UTF-8, but was cut inside a character (byte {position}). Cut by "
        "characters or lines, not by bytes (head -c), or send it whole."
    )
    J320 = "No field of these holds text: {fields}. Name the one that does: --text-field NAME."
    J321 = (
        "It can't be told which field holds the {wanted}. The fields are: {fields}. Name it, or "
        "another --task."
    )
    J322 = (
        "There are {count} texts with annotation, and 10 is the least to learn anything from: "
        "annotate more. If annotation is there, name its field (--label-field, --entities-field)."
    )
    J323 = (
        "All {count} texts have the same label, '{label}', so there is nothing to tell apart. Add "
        "texts of other labels, or name another field by --label-field."
    )
    J324 = (
        "'{path}' is there already, and nothing was written. Give another folder, or --force to "
        "write the project's files anew (yours stay)."
    )
    J325 = (
        "No encoder came along with this installation. Name one: --encoder FOLDER, or a name on "
        "the Hugging Face hub, such as --encoder tohoku-nlp/bert-base-japanese-v3."
    )
    J326 = "Give your data by --data FILE; or, if there are none yet, the --task they will be for."
    J327 = (
        "'{encoder}' is no folder with an encoder (config.json), and no name on the Hugging Face "
        "hub has this form. Give a folder, or OWNER/NAME."
    )
    J328 = "{count} texts can't be divided into {folds} folds: give fewer by --folds, 3 at least."
    J329 = (
        "None of the {count} texts has an entity, so there is nothing to learn. Check which field "
        "holds the entities, and name it by --entities-field."
    )
    J330 = "A project's name is made of letters, digits, - and _, not '{name}': give --name."
    J331 = (
        "The first row of a table has to name its columns, and this one looks like data: "
        "{fields}. Put a row with names, such as text and label, above it."
    )
    # --- J425 and on: encoders run by onnxruntime, exports ---------------------------------------
    J425 = (
        "This encoder is run by onnxruntime, and can't be trained. Train the pipeline that it was "
        "exported from and export that again; to train heads alone, put the transformer into "
        "[training] frozen_components and annotating_components."
    )
    J427 = (
        "The ONNX encoder can't be used: {file}: {reason}. Copy the pipeline again, or export it "
        "again (python -m spacy jbert export)."
    )
    J428 = (
        "The ONNX graph names {reason}, and neither other files nor foreign operators are ever "
        "loaded. Export the encoder again (python -m spacy jbert export)."
    )
    J429 = (
        "The ONNX graph doesn't fit the config and the tokenizer beside it: {reason}. Copy the "
        "pipeline again, or export it again (python -m spacy jbert export)."
    )
    J430 = "{model} can't be exported: {reason} Use the pipeline with torch."
    J431 = (
        "The ONNX graph of {model} gives other vectors than torch: they differ by up to "
        "{difference:.3g}, and {allowed:.3g} is the most that rounding explains. Nothing was "
        "written. Use the pipeline with torch."
    )
    J432 = (
        "The exported pipeline is worse than --max-drop {limit} allows, and nothing was written: "
        "{figures}. Export without --int8, or allow more."
    )
    J433 = "Can't export '{model}': {reason}"
    J434 = (
        "spacy-jbert.OnnxTransformer.v1 runs what python -m spacy jbert export --backend onnx "
        "wrote, and was given an encoder of torch. Build and train with "
        "spacy-jbert.JapaneseTransformer.v1 and export the pipeline."
    )
    J410 = (
        "`report` takes one pipeline or two, and then the annotated documents; {count} pipelines "
        "were given."
    )
    J411 = (
        "The two pipelines answer nothing of the same kind: the first {first}, the second "
        "{second}. Compare pipelines with the same task; text classifiers need the same name."
    )
    J412 = (
        "No threshold makes {precision:.1%} of the answers right ({what}): the best makes "
        "{best:.1%} of {count} right. Ask for less by --precision, or train on more texts."
    )
    J413 = (
        "Nothing in this pipeline says how sure it is, so there is nothing to set a threshold for "
        "(components: {names}). It needs jbert_ner, textcat or textcat_multilabel, and documents "
        "that are annotated for it."
    )
    J414 = (
        "'{model}' is an installed package and isn't written to: give a folder for the new "
        "pipeline by --out."
    )
    J415 = (
        "The threshold of {label!r} in component '{name}' (thresholds.json) is {value!r}. It has "
        "to be a number from 0 to 1, or null for never."
    )
    J416 = (
        "doc._.{extension} belongs to something else already, so '{name}' can't write it. Rename "
        "the other extension, or load this pipeline before it."
    )
    J417 = "'{path}' can't be taken over as a meta.json: {reason}."
    # --- J4xx: at work ----------------------------------------------------------------------------
    J435 = (
        "'{name}' (of {source}) can't be the name of a pipeline in the service: it must be of "
        "A-Z, a-z, 0-9, '.', '_' and '-', and no other's. Give one: NAME={source}"
    )
    J436 = "Can't listen on {host}, port {port}: {reason}. Choose another with --host and --port."
    J437 = (
        "The API key in {variable} can't be sent in a header: it must be of printable ASCII "
        "characters, not empty, without white space at its ends. Unset the variable to serve "
        "without a key."
    )
    J438 = (
        "This pipeline answers no questions: it has no component jbert_qa. Choose one that has, or "
        "ask nothing."
    )
    J439 = (
        "There is nothing to compare: of the documents in {reference}, {count_reference} are "
        "annotated with entities or categories, and of those in {new}, {count_new}. Give annotated "
        "ones."
    )
    J440 = "The request has more than {most} bytes. Send fewer texts at once."
    J441 = "The request isn't what the documentation at /docs says: {reason}"
    J442 = "A text has {length} characters; this service takes {most}."
    J443 = (
        "These are {count} texts, each counted once for every question; this service takes {most} "
        "in one request."
    )
    J444 = "{waiting} texts wait already, of at most {most}. Ask again later."
    J445 = "This wasn't done in {seconds} seconds. Ask again later, or for less."
    J446 = "The service is busy or shutting down. Ask again later."
    J447 = "There is no {what}"
    J448 = "This needs the key: Authorization: Bearer KEY"
    J449 = "This failed; what happened stands in the service's log under the request's id."
    # --- J45x: annotation in bulk, import of checkpoints ------------------------------------------
    J450 = "The folder holds no file that can be annotated ({kinds}, packed or not)."
    J451 = (
        "{count} lines or records in a row can't be read, so the rest of the file was left out. "
        "Check what it is, and name it by --input-format."
    )
    J452 = "This is no file but a pipe or a device; input is read twice. Write it to a file first."
    J453 = (
        "Another run is at work in '{path}'. Wait for its end, stop it, or give another folder by "
        "--out."
    )
    J454 = (
        "'{path}' holds other things ({name}), and was not begun by jbert annotate. Give an empty "
        "or a new folder by --out."
    )
    J455 = (
        "'{path}' was begun with other {names}, and its shards would not fit together. Give the "
        "same as before to go on, or another folder by --out. manifest.jsonl, line 1, says what "
        "it was."
    )
    J456 = (
        "'{path}' isn't as the run left it: {name} is missing or changed. Put it back, or begin "
        "anew in another folder."
    )
    J457 = (
        "A worker was killed, most often for want of memory. The shards that are finished stay: "
        "the same command goes on from there. Give it fewer --workers."
    )
    J458 = (
        "The record has fields that have the names of annotation ({names}), which would replace "
        "them. Give the annotation other names: --prefix jbert_"
    )
    J459 = (
        "'{model}' is no spaCy pipeline. Give a folder with meta.json, as training and packaging "
        "write it, or the name of an installed package."
    )
    J460 = "'{path}' would be written into a folder that is read, '{source}'. Give another --out."
    J461 = "Nothing could be read: all {count} records were rejected. {path} says why."
    J462 = (
        "It can't be told which entities these tags mean: {tags}. {reason} Name them in their "
        "order: --labels O,B-PERSON,I-PERSON"
    )
    J463 = (
        "An imported head has the labels it was trained with ({tags}), and can't be given more. "
        "Train a component of its own beside it."
    )
    J464 = "There is no head that can be imported: {reason}"
    J489 = (
        "The Ray cluster at '{address}' can't be reached: {reason}. Give the address that ray "
        "start printed, auto on a node of the cluster, or local for this machine alone. A "
        "cluster with a token wants the same token here, and RAY_AUTH_MODE=token beside it."
    )
    J490 = (
        "The node {node} would annotate otherwise: it has {others}. Give all nodes the same "
        "pipeline and the same versions."
    )
    J491 = "The application for Ray Serve can't be made of this: {reasons}. See docs/serving.md."
    J492 = "A node of the Ray cluster can't begin: {reason}. Install spacy-jbert on all nodes."
    J493 = (
        "The service on Ray Serve would ask for no key: {variable} isn't in the environment of the "
        "process that makes it. With a config file that is runtime_env, env_vars of the "
        "application. Or say without_key: true, if whoever reaches it may use it."
    )
    # --- J46x: many trainings, and what to annotate -----------------------------------------------
    J465 = "Another process is at work in this folder. Wait for it, or give another --out."
    J466 = "Here are no finished runs. Give the --out folder of jbert seeds or jbert crossval."
    J467 = (
        "These runs were tested on other documents, so they can't be compared: {shared} are the "
        "same of {ours} here and {theirs} there. Test both on the same file."
    )
    J468 = "The config has no {names} data. Name the DocBins: --paths.train FILE --paths.dev FILE."
    J469 = "This needs the package {package}: pip install 'spacy-jbert[{extra}]'"
    J470 = (
        "This is no space to search: {reason}. It has a section [space] with a line a setting, "
        'for example: training.dropout = {{"low": 0.0, "high": 0.3}} (and "log", "step" where '
        'wanted), or: components.ner.model.decoder = ["crf", "softmax"].'
    )
    J471 = "The config has no setting {name}.{similar} A space names settings that the config has."
    J472 = (
        "The study in '{path}' is of another config, space or data. Give another --study, or "
        "what it was begun with."
    )
    J473 = (
        "No trial has come to its end yet, so there is no best config. Give more --minutes or "
        "--trials; the study goes on with what it has."
    )
    J474 = (
        "The last {count} trials failed in a row, so nothing is tried any more. The last one said: "
        "{reason}"
    )
    J475 = "There is no default space for a pipeline of {names}. Write one: --space FILE."
    J476 = "No document here has any annotation, so there is nothing to look at."
    J477 = "by = {by} needs {needed}, and the pipeline has {names}. Choose another --by."
    J478 = "No text is left to choose from: {reason}."
    J479 = "The config trains {has}, and the data has {needed} annotated. Give a config that fits."
    J480 = "The labels of a pipeline can't be told to {tool}: {reason}."
    J481 = (
        "scores.json isn't of the runs that are here ({names}). Give the command that made it once "
        "more; what is finished and the same isn't trained again."
    )
    J482 = (
        "The held-out texts have no answer with these labels, so no threshold can be found for "
        "them: {labels}. Give texts that have them."
    )
    J483 = (
        "'{path}' is where Label Studio's labelling interface is written, beside the tasks. Give "
        "the tasks another name, such as --out {other}."
    )
    # --- J58x: recommendation, support ------------------------------------------------------------
    J580 = "{name} = {value} can't be used: it has to be {wanted}."
    J581 = "The index has no item '{item}'. Its ids are those of the texts that it was made of."
    J582 = "The field '{field}' is empty. A click names a user and an item."
    J583 = (
        "The field '{field}' is no time: {value}. Give ISO 8601, such as "
        "2026-01-31T12:00:00+09:00, or seconds since 1970."
    )
    J584 = "There is no click here."
    J585 = (
        "Intents need a text classifier (textcat or textcat_multilabel) with labels. This pipeline "
        "has: {names}."
    )
    J586 = (
        "The FAQ entry '{id}' has no answer. Make the index of records with a question, as "
        "--text-field, and an `answer`."
    )
    J587 = "There is no text in this query. Leave the line out."
    J588 = "There are {found} topics here, and users need {least} each."
    J589 = "None of these clicks is on an item of '{items}'. Items and clicks name them alike."
    J590 = 'No query here has split = "test": there is nothing to measure on.'
    J591 = (
        "This query has {length:,} characters, and the pipeline reads {longest:,} at most "
        "(nlp.max_length). Shorten it, or leave the line out."
    )
    # --- J50x: vectors of documents, search -------------------------------------------------------
    J500 = "pooling = '{pooling}' is not one of {choices}."
    J501 = "The field '{field}' is empty. Each pair needs two texts."
    J502 = "The field '{field}' has to hold a number, not {value}."
    J503 = (
        "Some pairs have a score in the field '{field}' and others none. Give all of them one, or "
        "take it away."
    )
    J504 = "There are {count} pairs here, and at least 2 are needed."
    J505 = "[initialize.after_init] {name} = {value!r} can't be used: it has to be {wanted}."
    J506 = (
        "The component '{name}' gives documents no vectors. It has to be a jbert_transformer with "
        '@annotation_setters = "spacy-jbert.doc_vectors.v1" in '
        "[components.{name}.set_extra_annotations]."
    )
    J507 = "objective = 'cosent' needs pairs with scores. Give them one, or set 'negatives'."
    J509 = (
        "A document has no vector of its own: it didn't go through a pipeline whose transformer "
        "has spacy-jbert.doc_vectors.v1. Send it through the one that made the index."
    )
    J510 = (
        "This needs a pipeline that gives documents vectors: a jbert_transformer with "
        '@annotation_setters = "spacy-jbert.doc_vectors.v1". This one has: {names}.'
    )
    J511 = "This is no whole index ({reason}). Make it anew with `jbert index`."
    J512 = (
        "Another pipeline made this index: {name}, or one of that name with another encoder or "
        "other settings. Search it with that one, or make it anew with `jbert index`."
    )
    J513 = "The text '{id}' can't be indexed: {reason}."
    J514 = "There is no text to index."
    J515 = "{name} = {value!r} can't be searched for. {reason}"
    J516 = "Another process is writing the index '{path}'. Wait for it, or give another --out."
    J517 = (
        "A summary of n = {n} sentences with redundancy = {redundancy} can't be made: n has to be "
        "1 or more, redundancy from 0 to 1."
    )
    J518 = (
        "A summary needs the vectors of tokens. Set tokens = true in "
        "[components.<name>.set_extra_annotations]."
    )
    J519 = (
        "'{path}' is there already, and is no {what}: it isn't replaced. Give another name, or "
        "remove it first."
    )
    # --- J52x: questions and answers --------------------------------------------------------------
    J520 = (
        "Component '{name}' has nothing to learn: no training document has a question with an "
        "answer in doc._.jbert_questions. Check [paths] train: python -m spacy jbert convert "
        "--task qa writes such documents."
    )
    J521 = "This is no data in the format of SQuAD: {where} {reason}."
    J522 = "None of the {count} questions can be used: {reason}."
    J524 = (
        "Nobody answers for this Doc: it went through no jbert_qa, and there are {count} such "
        "components that might. Send it through a pipeline that has one, or ask the component "
        'itself: nlp.get_pipe("qa").answer([(doc, question)]).'
    )
    J525 = "{what} can't be used: give {wanted}."
    J526 = (
        "The files of '{name}' in {where} are of different saves: its encoder or its head was "
        "replaced, or a save was interrupted. Save the whole pipeline again, or copy it again."
    )
    J527 = (
        "{what} in doc._.jbert_questions can't be used: {reason}. Give a list of questions, each "
        'a text, or a dict like {{"question": "…", "answers": [[start, end]]}} with characters of '
        "doc.text."
    )
    J528 = (
        "A document has {asked} questions and {answered} answers to them in doc._.jbert_answers, "
        "or these are to other questions. Remove doc._.jbert_answers before you evaluate."
    )
    J530 = (
        "A window of {window} wordpieces has no room for a question and a text: give {least} at "
        "least as window and train_window in [components.<name>.model]; or the encoder's own "
        "limit is too low."
    )
    J531 = "[components.<name>] {name} = {value!r} can't be used: it has to be {wanted}."
    J532 = (
        "'{name}' can't be run by onnxruntime: a question and a text go through its encoder "
        "together, which isn't exported. Leave it out of the pipeline that you export."
    )
    # --- J54x: distillation, sequence to sequence -------------------------------------------------
    J540 = (
        "The teacher of component '{name}' has other labels than it: {others}. Its own are "
        "{labels}. Teach it by a pipeline of the same labels, or convert the gold data with those."
    )
    J541 = (
        "The teacher of component '{name}' had other tokens in '{text}', so how sure it was of "
        "each can't be learned. Give the student the teacher's tokenizer: the same [nlp.tokenizer] "
        "split_mode, dict and user dictionary. Then let the texts be labelled again."
    )
    J542 = (
        "{path}: there is no sentence of {least} to {most} characters with a Japanese one. Check "
        "min_characters and max_characters of spacy-jbert.distill.v1, and that it is raw text."
    )
    J543 = (
        "Component '{name}' has misaligned = 'split': it tags parts of tokens, which depend on its "
        "encoder, and so can neither teach nor be taught. Use misaligned = 'count' or 'expand'."
    )
    J544 = (
        "The teacher '{teacher}' has no jbert_ner, textcat or textcat_multilabel (components: "
        "{names}). Name a pipeline that was trained for one of them."
    )
    J545 = (
        "'{path}' holds texts that were labelled with other settings ({names}). Name another "
        "folder in spacy-jbert.distill.v1, or delete this one."
    )
    J546 = (
        "Component '{name}' can't learn how probable the teacher's categories are: its factory "
        "takes those alone that are 0 or 1. Set factory = 'jbert_textcat' in [components.{name}]."
    )
    J547 = (
        "{label!r} has the value {value!r} in the cats of '{text}': it has to be a number from 0 "
        "to 1, how probable the category is."
    )
    J548 = "'{path}' is damaged: {reason}. Delete the folder, so that the texts are labelled again."
    J549 = "{where} has {name} = {value!r}: it has to be {wanted}."
    J550 = (
        "The student ({names}) has nothing that learns from the teacher ({others}). Entities are "
        "learned by a jbert_ner of the same name, categories by a jbert_textcat."
    )
    J551 = "'{path}' is no trained pipeline: there is neither a package nor a folder of that name."
    J552 = "'{path}': another process is at work in that folder. Wait until it is done."
    J553 = (
        "The encoder in '{path}' ({family}) can't be made a decoder. Take one of the families "
        "{families}, whose tokenizer puts a piece before and behind a text."
    )
    J555 = (
        "'{path}' holds no model that writes texts but {family}. Train one by "
        "project/scripts/train_seq2seq.py, and name the folder 'model' that it leaves."
    )
    J556 = "The field '{field}' is empty. Fill it, or remove the record."
    J557 = "There is nothing to learn from here: {needed} are needed."
    J558 = (
        "The config can't be used: {reason}. configs/seq2seq.cfg has all sections and settings, "
        "and says what they are."
    )
    J559 = (
        "Component '{name}' has no model. Name the folder that project/scripts/train_seq2seq.py "
        "left in [initialize.components.{name}] folder, or load a trained pipeline."
    )
    # --- J56x, J57x: chABSA and streams of news ---------------------------------------------------
    J560 = (
        "There is no report of chABSA here. Give the archive, a folder of its *_ann.json, or a "
        "file with one of these objects a line."
    )
    J561 = (
        "This is no report as chABSA annotates it ({reason}). Each has a header (edi_id, "
        "document_name, security_code, category33) and sentences, whose opinions have target, "
        "polarity, from and to."
    )
    J562 = (
        "{value!r} can't be the {field} of a company: codes aren't empty, and names and aliases "
        "have at least two characters besides their legal form."
    )
    J563 = "The code {code!r} stands in the table twice. Give each company one row."
    J564 = "The table has no company. It has the columns code, name, sector and aliases."
    J565 = (
        "Component '{name}' has no table of companies. Give one: "
        "[initialize.components.{name}] table = FILE"
    )
    J566 = (
        "These can't be settings of surges: {settings}. All are above 0, off is less than on, and "
        "half_life (hours) less than memory (days)."
    )
    J567 = "{time} is no time of an event: it has to be a finite number of seconds."
    J570 = (
        "This is no state of this command, or it is damaged ({reason}). Give another file, or "
        "remove it to begin anew: then what was told may be told again."
    )
    J571 = (
        "This isn't as it was left: it had {offset} bytes before the lines that were to be "
        "appended, and something else stands there, or nothing. Put it back, or begin anew with "
        "another state and another file."
    )
    J572 = (
        "{url!r} can't be a webhook: {reason}. Hosts are localhost, 127.0.0.0/8 and ::1 unless "
        "others are allowed."
    )
    J573 = "This is no news: {reason}. A line has text, time (ISO 8601) and, where wanted, id."
    J574 = (
        "The pipeline lacks {what}. The stream needs jbert_companies with a table, and a text "
        "classifier that knows the label of --negative."
    )
    J575 = (
        "The state was begun with other {names}, and its rates don't fit. Give the same as before, "
        "or another --state."
    )
    J576 = (
        "There is no room for {count} surges in {days} days: ten days lie between two of a "
        "company. Give more --days, or fewer --surges."
    )
    J577 = "The pipeline fails on this text, which is left out: {reason}"


class Warnings(metaclass=_WithCodes):
    JW001 = (
        "Component '{name}': {count} of {total} entities in the training data start or end inside "
        "a token and can't be learned (for example {example!r}). Their tokens are left out of the "
        "loss; in scores they count as missed. The tokenizer has the fewest with split_mode A."
    )
    JW002 = (
        "Component '{name}': label '{label}' occurs in the data to evaluate on but not in the "
        "training data; it can never be predicted."
    )
    JW020 = (
        "A text holds half a character (a lone surrogate, at position {position}: {around!a}), "
        "which no Doc can store. It was read as U+FFFD, so that positions stay as they are."
    )
    JW080 = (
        "device = '{device}' isn't there on this machine: the encoder runs on the CPU. "
        "device = 'auto' takes what there is."
    )
    JW050 = (
        "Component '{name}': {count} of {total} entities in the training data start or end inside "
        "a token (for example {example!r}). They are learned as the tokens that cover them, so "
        "what is predicted there is longer than the annotation and counts as wrong."
    )
    JW051 = (
        "Component '{name}': {count} of {total} entities in the training data start or end inside "
        "a token (for example {example!r}). They are learned, and tokens are split for what is "
        "found, where a wordpiece starts or ends there too."
    )
    JW052 = (
        "Component '{name}': the entity {text!r} starts or ends inside a wordpiece and can't be "
        "learned there; its wordpieces are left out of the loss. {count} different entities so far."
    )
    JW053 = (
        "Span._.{name} was registered by something else and stays as it is. The confidence of "
        "jbert_ner's entities is on Span._.{ours}."
    )
    JW054 = (
        "Component '{name}': {count} of {total} entities in the training data begin or end with "
        "white space (for example {example!r}). No entity that is found does, so these count as "
        "missed and what is found there as wrong. Trim them: convert the data again, or correct "
        "the annotation. Where white space is all that an entity has, drop it."
    )
    # --- JW1xx: pretraining -----------------------------------------------------------------------
    JW101 = (
        "The checkpoint '{path}' is incomplete (it was being written when the run ended) and is "
        "skipped."
    )
    JW102 = (
        "The text is one single document, so its last sentences are held out. Put blank lines "
        "between documents (or use JSONL) for an honest evaluation."
    )
    JW130 = (
        "The checkpoint '{path}' is of another run (other settings, text or first weights) and is "
        "skipped."
    )
    JW131 = (
        "The checkpoint at step {step} could not be written ({reason}). Training goes on; the last "
        "complete one is: {last}."
    )
    JW133 = "'{path}' is damaged: its files are not those that were written. It is made anew."
    JW134 = (
        "The checkpoint '{path}' is damaged: its files are not those that were written. It is "
        "skipped."
    )
    JW135 = (
        "The encoder '{path}' is not the one that the metrics.json beside it belongs to: it is "
        "damaged, or another run was killed here. It is made anew, from checkpoints if there are "
        "any."
    )
    JW136 = (
        "The processes that cut the text ended before they had done anything or were killed (for "
        "want of memory?), so this process goes on alone. A script that pretrains has to put what "
        'it does under: if __name__ == "__main__": (else each new process runs the script again).'
    )
    JW137 = (
        "There was no room for the checkpoint at step {step} ({reason}): all older ones but {last} "
        "are removed, and it is tried once more."
    )
    JW138 = (
        "The checkpoint '{path}' was trained with {trained} torch threads, more than there are "
        "cores here, so training goes on with {own}: the result will not be the same to the bit. "
        "If it has to be, go on on a machine with {trained} cores."
    )
    JW139 = (
        "spacy-jbert.pretrain_mlm.v1 is spacy-jbert.pretrain_mlm.v2 now, with the field's names: "
        "{names}. The old config trains the same."
    )
    JW132 = "No learning curve will be drawn: pip install 'spacy-jbert[report]'"
    # --- JW2xx: data ------------------------------------------------------------------------------
    JW201 = (
        "{count} labels are in the dev or test data but not in the training data, so they can "
        "never be predicted: {labels}"
    )
    JW202 = "{count} texts of one split are in another split too: results on them will be too good."
    JW203 = "{count} records have an empty text, or only white space, and were skipped."
    JW204 = "{count} entities overlapped a longer one and were left out."
    JW205 = (
        "{count} tags that go on with an entity (I-, L-, E-, M-) followed none of the same label "
        "and were read as B-."
    )
    JW206 = "{count} records were left out for their label."
    JW250 = "{count} relations, events and attributes of the annotation tool were left out."
    JW251 = "{count} records were skipped, ignored or rejected by the annotator and were left out."
    JW252 = "{count} annotations were left out, as a later one of the same text is used."
    JW253 = (
        "{count} results of the annotation tool are neither spans nor choices and were left out."
    )
    JW254 = "{count} entities in several stretches were taken as one, from the first to the last."
    JW255 = "{part} has no example of these labels, which are rare: {labels}"
    JW256 = "{count} records without annotation were left out."
    JW257 = "{count} entities and labels became nothing by the map of labels and were left out."
    JW258 = "{count} entities stood there twice and were taken once."
    JW259 = "{count} .txt files have no .ann file beside them and were left out."
    JW260 = (
        "{count} documents went to the split in which an earlier folder has the same text, so that "
        "it isn't on both sides."
    )
    JW261 = "The map of labels names labels that aren't in the data: {labels}"
    JW207 = (
        "{count} entities began or ended with white space (or zero-width characters), which can "
        "never be predicted: it was left out of them."
    )
    JW208 = "{count} entities were white space alone and were left out."
    JW209 = "{count} labels had white space at an end, which was left out of them."
    JW210 = (
        "These labels differ only in width or case and are taken as different ones: {labels}. If "
        "they are the same, correct the data."
    )
    JW211 = (
        "{count} texts come several times with different annotation, so one is wrong, for example: "
        "{examples}"
    )
    JW212 = "An earlier conversion left {path}, which is none of these splits: it is now {new}."
    JW213 = (
        "{count} files in '{path}' are packed as {suffixes} and were left out: unpack them first."
    )
    JW240 = (
        "{count} of {total} entities in the {part} data begin or end with white space, which can "
        "never be predicted, for example {examples}. Convert the data again, or correct it."
    )
    JW241 = (
        "{count} of {total} entities in the {part} data start or end inside a token, for example "
        "{examples}. They can only be found with misaligned = 'split' and pooling = 'units'; the "
        "tokenizer has the fewest with split_mode A."
    )
    JW242 = (
        "{count} of {total} entities in the {part} data start or end inside a wordpiece of the "
        "encoder too, so they can't be found at all, for example {examples}. Another encoder may "
        "cut there."
    )
    JW243 = (
        "These labels differ only in width, case or white space and are taken as different ones: "
        "{labels}. If they are the same, correct the data."
    )
    JW244 = (
        "{count} of {total} different texts in the evaluation data are in the training data too "
        "(but for width, case and white space), so results will be too good, for example "
        "{examples}"
    )
    # --- JW3xx: evaluation and packaging ----------------------------------------------------------
    JW301 = (
        "The data has no {kind} annotated in any document: what the pipeline says of them is not "
        "looked at, or counts as invented."
    )
    JW302 = (
        "The pipeline doesn't know these {kind} of the data, so each of them counts as missed: "
        "{labels}"
    )
    JW320 = "Labels with fewer than 5 examples can hardly be learned: {labels}"
    # --- JW425 and on: encoders run by onnxruntime, exports --------------------------------------
    JW425 = (
        "spaCy uses a GPU, and an encoder run by onnxruntime stays on the CPU. On a GPU the "
        "pipeline that it was exported from is faster."
    )
    JW410 = (
        "Fewer than {few} held-out answers are above these thresholds, so the true precision may "
        "be much lower (see the column 'at least'): {labels}. Use more texts, or one threshold for "
        "all."
    )
    JW411 = (
        "No threshold makes {precision:.1%} of the answers {label!r} right, so none of them is "
        "given any more. Ask for less by --precision to keep some."
    )
    JW413 = "{path} holds no evaluations (step and score, a JSON object a line): no learning curve."
    # --- JW4xx: at work ---------------------------------------------------------------------------
    JW435 = (
        "The service listens on {host}, so others can reach it, and asks for no key: set "
        "{variable} to have one."
    )
    # --- JW45x: annotation in bulk, import of checkpoints -----------------------------------------
    JW450 = "'{path}' can't be read to its end, and the rest was left out: {reason}"
    JW451 = "{count} records could not be annotated: '{path}/rejected.jsonl' says which, and why."
    JW452 = (
        "Stopped. The shards in '{path}' that are finished stay, and the same command goes on from "
        "there."
    )
    JW453 = (
        "In {seconds:.0f} seconds Ray has started no worker. Each takes {wanted}; free in the "
        "cluster: {free}. It goes on waiting."
    )
    # --- JW46x: many trainings, and what to annotate ----------------------------------------------
    JW465 = (
        "The config's own {name} = {value} lies outside of the space, so the first trial isn't the "
        "config as it is."
    )
    JW466 = (
        "There are only {count} different texts to choose from, fewer than the {wanted} asked for."
    )
    JW467 = "Trial {number} was begun by a process that is no more, and is done again."
    JW468 = "Trial {number} failed and is left out: {reason}"
    JW469 = "There is neither model-best nor model-last in '{path}', so MLflow gets no model."
    JW470 = (
        "The held-out texts have no answer with these labels, so they have no threshold, and "
        "whatever is said of them counts as sure enough: {labels}. Use texts that have them."
    )
    JW471 = (
        "These components say no confidence, so by = {by} doesn't count what they are unsure of: "
        "{names}."
    )
    # --- JW52x: questions and answers -------------------------------------------------------------
    JW520 = (
        "Component '{name}': a question of {characters} characters has {count} wordpieces, and "
        "only the first {longest} are read (max_question). Others that are too long aren't named."
    )
    JW521 = (
        "{count} answers aren't in the text where answer_start says, but in one place of it, which "
        "was taken."
    )
    JW522 = (
        "doc._.{name} belongs to something else, so it asks no jbert_qa: use "
        'nlp.get_pipe("qa").answer([(doc, question)]).'
    )
    JW523 = (
        "{count} answers aren't in the text where answer_start says, nor in just one place of it, "
        "and were left out; so were questions that have no other."
    )
    JW524 = "{count} answers begin or end with white space, which was left out."
    JW525 = "{count} questions have the id of another one."
    # --- JW56x: streams of news -------------------------------------------------------------------
    JW560 = (
        "{alias!r} is a name of several companies ({codes}). It is linked only where a text names "
        "one of them otherwise too."
    )
    JW561 = (
        "{path}: the file that was read up to line {line} isn't there any more, or was truncated. "
        "What is there is read from its beginning; lines between may be lost."
    )
    JW562 = (
        "{path}: line {line} of the file before it was never finished, and is left out, as the "
        "file was rotated away."
    )
    JW563 = "The webhook didn't take an alert ({reason}); {count} wait, and are sent again."
