"""Train, save and load something tiny, on whatever Python runs this: no test runner, no checkout.

`.ci/run` runs it on each interpreter that the machine has, see there.
"""

import sys
import tempfile
from pathlib import Path

import spacy
from spacy.training import Example

CONFIG = {
    "@misc": "spacy-jbert.NewEncoder.v1",
    "vocabulary": sys.argv[1],
    "layers": 1,
    "width": 32,
    "heads": 2,
    "seed": 0,
}


def main() -> None:
    text = "東京都の会社に勤める田中さんは京都へ行った。"
    entities = [(0, 3, "地名"), (10, 12, "人名"), (15, 17, "地名")]
    tokenizer = {"@tokenizers": "spacy-jbert.SudachiTokenizer.v1"}
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": tokenizer}})
    nlp.add_pipe("jbert_transformer", name="transformer")
    nlp.add_pipe("jbert_ner", name="ner")
    nlp.config["initialize"]["components"]["transformer"] = {"encoder": CONFIG}
    examples = [Example.from_dict(nlp.make_doc(text), {"entities": entities})]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 5e-3
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    with tempfile.TemporaryDirectory() as folder:
        nlp.to_disk(Path(folder) / "model")
        doc = spacy.load(Path(folder) / "model")(text)
    found = [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]
    if found != entities:
        sys.exit(f"Python {sys.version.split()[0]}: {found} instead of {entities}")
    print(f"Python {sys.version.split()[0]}: trained, saved and loaded")


if __name__ == "__main__":
    main()
