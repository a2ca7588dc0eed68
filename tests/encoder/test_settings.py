"""Checkpoints of both majors of transformers, and settings that can't be right.

`tests/fixtures/transformers5` is what transformers 5.24 wrote when it had read what
`four` below saves; `tokenizer` there is of the vocabulary in it, with two more special tokens, and
`jbert-mini.json` the ids that it gives with jbert-mini's.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import srsly
import torch
from safetensors.torch import load_file, save_file
from spacy.language import Language
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModel,
    BertTokenizerFast,
    Gemma3TextConfig,
    GPTNeoXConfig,
    LlamaConfig,
    ModernBertConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
)

from spacy_jbert.encoder.checkpoint import Encoder
from spacy_jbert.encoder.loaders import hf_encoder, new_encoder
from spacy_jbert.errors import DataError
from spacy_jbert.models.shim import EncoderShim
from spacy_jbert.models.transformer import build_transformer
from spacy_jbert.wordpieces.segmentation import choose_words, make_segmenter

Checkpoint = Callable[[str], Path]
Json = dict[str, Any]

FIVE = Path(__file__).parents[1] / "fixtures" / "transformers5"
_SIZES: Json = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
_SPECIAL: Json = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
_LLAMA = _SIZES | _SPECIAL | {"num_key_value_heads": 2, "rope_theta": 500_000.0}
_SCALED = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
four: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**_LLAMA),
    "llama-scaled": LlamaConfig(**_LLAMA, rope_scaling=_SCALED),
    "modernbert": ModernBertConfig(
        **_SIZES | {"num_hidden_layers": 3},
        **_SPECIAL,
        cls_token_id=2,
        sep_token_id=3,
        local_attention=8,
        global_rope_theta=20_000.0,
        local_rope_theta=500.0,
        global_attn_every_n_layers=2,
    ),
    "gpt_neox": GPTNeoXConfig(**_SIZES, rotary_emb_base=500, rotary_pct=0.5),
    "gemma3_text": Gemma3TextConfig(
        **_SIZES,
        **_SPECIAL,
        num_key_value_heads=2,
        head_dim=8,
        rope_theta=500_000.0,
        rope_local_base_freq=300.0,
        sliding_window=8,
    ),
}


def edit(path: Path, **settings: Any) -> None:
    """Change settings of a JSON file; None takes one away."""
    content = json.loads(path.read_text(encoding="utf-8")) | settings
    kept = {name: value for name, value in content.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


def write(folder: Path, config: PretrainedConfig) -> Path:
    """A checkpoint of 4.x with the vocabulary of the fixtures."""
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer = Tokenizer.from_file(str(FIVE / "tokenizer" / "tokenizer.json"))
    names = {name: f"[{name[:-6].upper()}]" for name in ("pad_token", "unk_token", "mask_token")}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="[CLS]", sep_token="[SEP]", **names
    ).save_pretrained(folder)
    return folder


def vectors(encoder: Encoder) -> torch.Tensor:
    with torch.inference_mode():
        return encoder(torch.arange(4, 44)[None])


@pytest.mark.parametrize("name", four)
def test_configs_of_transformers_5_give_the_same_vectors(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "four", four[name])
    before = vectors(Encoder.load(folder))
    shutil.copy(FIVE / name / "config.json", folder)
    # 5 copies what 4 called so where it read it there; of its own it writes rope_parameters only.
    edit(folder / "config.json", rope_theta=None, partial_rotary_factor=None)
    edit(folder / "config.json", global_attn_every_n_layers=None)
    five = Encoder.load(folder)
    torch.testing.assert_close(vectors(five), before, rtol=0, atol=0)
    five.save(tmp_path / "again")
    torch.testing.assert_close(vectors(Encoder.load(tmp_path / "again")), before, rtol=0, atol=0)
    bytes_ = srsly.msgpack_dumps({path.name: path.read_bytes() for path in folder.iterdir()})
    shim = EncoderShim(device="cpu")
    shim.from_bytes(bytes_)
    torch.testing.assert_close(vectors(shim.require_encoder()), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("llama", {"rope_parameters": "linear"}),
        ("llama", {"rope_parameters": {"full_attention": {"rope_theta": 1e4}, "other": {}}}),
        (
            "llama",
            {
                "rope_parameters": {
                    "full_attention": {"rope_theta": 1e4},
                    "sliding_attention": {"rope_theta": 1e5},
                }
            },
        ),
        ("llama", {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}),
        ("llama", {"layer_types": ["full_attention", "sliding_attention"]}),
        ("modernbert", {"rope_parameters": {"rope_theta": 1e4}}),
        (
            "modernbert",
            {"rope_parameters": {"full_attention": {"rope_theta": 1e4, "rope_type": "yarn"}}},
        ),
        ("modernbert", {"layer_types": ["full_attention", "full_attention", "sliding_attention"]}),
        ("gemma3_text", {"use_bidirectional_attention": True}),
    ],
)
def test_what_transformers_4_cant_express(name: str, settings: Json, tmp_path: Path) -> None:
    folder = write(tmp_path, four[name])
    shutil.copy(FIVE / name / "config.json", folder)
    edit(folder / "config.json", **settings)
    with pytest.raises(ValueError, match=r"config\.json: \[J063\]"):
        Encoder.load(folder)


def test_tokenizers_of_transformers_5(tmp_path: Path, japanese: Language) -> None:
    folder = write(tmp_path / "four", four["llama"])
    before = Encoder.load(folder).tokenizer
    for path in (FIVE / "tokenizer").iterdir():
        shutil.copy(path, folder)
    five = Encoder.load(folder)
    assert choose_words(five.tokenizer, "auto")[0] == "native"
    assert five.tokenizer.additional_special_tokens == ["[DOC]", "[END]"]
    doc = japanese("ｶﾞｽとＡＢＣ 東京")
    assert (
        make_segmenter(five.tokenizer)([doc])[0].ids.tolist()
        == make_segmenter(before)([doc])[0].ids.tolist()
    )
    built = new_encoder(str(folder), "tiny", max_pieces=32)(japanese)
    assert built.tokenizer.get_vocab() == five.tokenizer.get_vocab()


def test_a_tokenizer_class_of_transformers_5_without_its_file(tmp_path: Path) -> None:
    folder = write(tmp_path, four["llama"])
    edit(folder / "tokenizer_config.json", tokenizer_class="SentencePieceBackend")
    Encoder.load(folder)  # tokenizer.json is enough
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: \[J068\]"):
        Encoder.load(folder)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("model_max_length", 0), ("model_max_length", "512"), ("cls_token", 3), ("pad_token", ["a"])],
)
def test_tokenizer_settings_that_cant_be_right(setting: str, value: object, tmp_path: Path) -> None:
    folder = write(tmp_path, four["llama"])
    edit(folder / "tokenizer_config.json", **{setting: value})
    with pytest.raises(ValueError, match=rf"tokenizer_config\.json: \[J064\] {setting}"):
        Encoder.load(folder)


@pytest.mark.parametrize("tokens", [[3], [["a"]], ["a", None]])
def test_special_tokens_that_are_none(tokens: list, tmp_path: Path) -> None:
    folder = write(tmp_path, four["llama"])
    edit(folder / "tokenizer_config.json", extra_special_tokens=tokens)
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: \[J064\]"):
        Encoder.load(folder)


def test_our_vocabularies_are_read_alike_by_both_majors(tmp_path: Path, japanese: Language) -> None:
    """5 makes BERT's class anew, without the normalizer in tokenizer.json."""
    folder = write(tmp_path / "old", four["llama"])
    edit(folder / "tokenizer_config.json", tokenizer_class="BertTokenizer", jbert_words="doc")
    doc = japanese("ｶﾞｽとＡＢＣ 東京")
    old = BertTokenizerFast.from_pretrained(folder)
    loaded = Encoder.load(folder)
    loaded.save(tmp_path / "new")
    new = Encoder.load(tmp_path / "new").tokenizer
    settings = json.loads((tmp_path / "new" / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert str(tmp_path) not in json.dumps(settings)
    for tokenizer in (loaded.tokenizer, new):
        assert choose_words(tokenizer, "auto") == choose_words(old, "auto")
        assert tokenizer.special_tokens_map == old.special_tokens_map
        assert tokenizer.model_max_length == old.model_max_length
        pieces = make_segmenter(tokenizer)([doc])[0]
        assert pieces.ids.tolist() == make_segmenter(old)([doc])[0].ids.tolist()
        assert tokenizer.unk_token_id not in pieces.ids


def test_jbert_mini_is_read_as_transformers_5_reads_it() -> None:
    recorded = json.loads((FIVE / "jbert-mini.json").read_text(encoding="utf-8"))["ids"]
    mini = Path(__file__).parents[2] / "project" / "assets" / "jbert-mini"
    tokenizer = Encoder.from_config(mini).tokenizer
    assert {text: tokenizer(text)["input_ids"] for text in recorded} == recorded
    assert tokenizer.unk_token_id not in recorded["ｶﾞｽとＡＢＣ"]


def test_berts_own_class_stays(checkpoint: Checkpoint, tmp_path: Path) -> None:
    encoder = Encoder.load(checkpoint("bert-fast"))
    assert isinstance(encoder.tokenizer, BertTokenizerFast)


# --- What can't be right --------------------------------------------------------------------------


@pytest.fixture
def folder(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    """A checkpoint of one's own, to break."""
    return Path(shutil.copytree(checkpoint("bert-fast"), tmp_path / "checkpoint"))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("layer_norm_eps", float("nan")),
        ("layer_norm_eps", -1e-12),
        ("layer_norm_eps", "small"),
        ("layer_norm_eps", 1e9),
        ("layer_norm_eps", True),
        ("hidden_size", 0),
        ("hidden_size", 10**40),
        ("num_labels", 10**20),
        ("hidden_size", 16.5),
        ("num_hidden_layers", -1),
        ("num_hidden_layers", 10**9),
        ("vocab_size", "many"),
        ("max_position_embeddings", -5),
        ("hidden_dropout_prob", 2),
        ("hidden_dropout_prob", float("inf")),
        ("initializer_range", float("nan")),
        ("hidden_act", "nothing"),
        ("hidden_act", ["gelu"]),
    ],
)
def test_settings_that_cant_be_right(folder: Path, setting: str, value: object) -> None:
    edit(folder / "config.json", **{setting: value})
    for load in (Encoder.load, Encoder.from_config):
        with pytest.raises(ValueError, match=rf"config\.json: \[J064\] {setting}"):
            load(folder)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b""),
        ("config.json", b"[]"),
        ("config.json", b"null"),
        ("config.json", b"\xff{}"),
        ("config.json", b'{"hidden_size": ' + b"1" * 5_000 + b"}"),
        ("config.json", b"[" * 100_000),
        ("config.json", b"{}"),
        ("config.json", b'{"model_type": 3}'),
        ("config.json", b'{"model_type": ["bert"]}'),
        ("config.json", b'{"model_type": "none-of-all"}'),
        ("tokenizer_config.json", b"[]"),
        ("tokenizer_config.json", b"{"),
        ("tokenizer_config.json", b'{"tokenizer_class": 3}'),
        ("tokenizer_config.json", b'{"tokenizer_class": "BertTokenizer", "cls_token": 3}'),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"[]"),
    ],
)
def test_damaged_settings(folder: Path, file: str, content: bytes) -> None:
    (folder / file).write_bytes(content)
    for load in (Encoder.load, Encoder.from_config):
        with pytest.raises(ValueError, match=r"J002|J064|J068"):
            load(folder)


def test_sizes_that_dont_fit_one_another(folder: Path) -> None:
    edit(folder / "config.json", num_attention_heads=3)
    for load in (Encoder.load, Encoder.from_config):
        with pytest.raises(ValueError, match="J002"):
            load(folder)


def test_a_vocabulary_without_an_unknown_piece(folder: Path, japanese: Language) -> None:
    backend = Tokenizer(models.WordPiece({"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "東": 3}))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    backend.save(str(folder / "tokenizer.json"))
    for load in (
        lambda: Encoder.load(folder),
        lambda: Encoder.from_config(folder),
        lambda: new_encoder(str(folder), "tiny")(japanese),
    ):
        with pytest.raises(ValueError, match="J066"):
            load()


def test_a_vocabulary_that_drops_what_it_lacks(folder: Path) -> None:
    backend = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    backend.save(str(folder / "tokenizer.json"))
    edit(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(ValueError, match="J066"):
        Encoder.load(folder)


def test_a_template_that_names_no_piece(tmp_path: Path) -> None:
    """The tokenizers library panics at it."""
    folder = write(tmp_path, four["llama"])
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["post_processor"]["pair"][0]["SpecialToken"]["id"] = "[CLZ]"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="J002"):
        Encoder.load(folder)


def test_ids_beyond_the_embeddings(folder: Path, japanese: Language) -> None:
    encoder = Encoder.load(folder)
    rows = encoder.model.config.vocab_size
    encoder.tokenizer.add_tokens([f"新語{i}" for i in range(rows)])
    encoder.tokenizer.save_pretrained(folder)
    for load in (Encoder.load, Encoder.from_config):
        with pytest.raises(ValueError, match="J065"):
            load(folder)
    assert new_encoder(str(folder), "tiny")(japanese).model.config.vocab_size >= 2 * rows


def test_ids_beyond_the_embeddings_that_no_text_yields(folder: Path, japanese: Language) -> None:
    """As of checkpoints whose makers added a padding token, and no row for it."""
    before = Encoder.load(folder)
    tokenizer = before.tokenizer
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<extra>"], "pad_token": "<padding>"}
    )
    tokenizer.save_pretrained(folder)
    encoder = Encoder.load(folder)
    docs = [japanese.make_doc(text) for text in ("<extra>と<padding>猫", "猫")]
    model = build_transformer(overlap=8)
    model.shims[0].encoder = encoder
    rows = encoder.model.get_input_embeddings().num_embeddings
    assert encoder.tokenizer.pad_token_id >= rows > encoder.pad_id
    batch = model.predict(docs)
    assert np.isfinite(batch.model_output.last_hidden_state).all()
    assert all((data.wordpieces.input_ids < rows).all() for data in batch.doc_data)
    tokenizer.add_special_tokens({"mask_token": "<masked>"})
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match="J065"):
        Encoder.load(folder)


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (ValueError("[J067] no numbers"), [True]),
        (ValueError("[J065] no row"), [True]),
        (DataError("[J064] no size"), [True]),
        (OSError("not in the cache"), [True, False]),
    ],
)
def test_the_hub_is_asked_for_what_is_missing_only(
    error: Exception, asked: list[bool], japanese: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bool] = []

    def fail(name: str, *, local_files_only: bool, **settings: Any) -> None:
        calls.append(local_files_only)
        raise error

    monkeypatch.setattr("spacy_jbert.encoder.checkpoint.read_settings", fail)
    with pytest.raises(ValueError, match=r"J0\d\d"):
        hf_encoder("someone/something")(japanese)
    assert calls == asked


@pytest.mark.parametrize("family", ["bert-fast", "albert", "modernbert", "llama", "deberta-v2"])
@pytest.mark.parametrize(
    "sizes",
    [
        {"vocab_size": 2**26, "hidden_size": 2**15},
        {"hidden_size": 2**15, "num_hidden_layers": 2**12},
        {"intermediate_size": 2**18, "hidden_size": 2**15},
        {"num_hidden_layers": 2**12, "hidden_size": 2**12},
    ],
)
def test_sizes_that_no_machine_has(
    family: str, sizes: Json, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoint(family), tmp_path / "checkpoint"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | sizes), encoding="utf-8")
    with pytest.raises(ValueError, match="J098"):
        Encoder.load(folder)
    if family != "albert":  # its embeddings are narrow, its layers one
        (folder / "model.safetensors").unlink()
        with pytest.raises(ValueError, match=r"J098|J002|J064"):
            Encoder.from_config(folder)


def test_a_new_encoder_that_no_machine_has(folder: Path, japanese: Language) -> None:
    build = new_encoder(str(folder), layers=10_000, width=10_000, heads=10)
    with pytest.raises(ValueError, match="J098"):
        build(japanese)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers(folder: Path, value: float, japanese: Language) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "query.weight" in name)
    weights[name][1, 2] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"J067.*query\.weight"):
        hf_encoder(str(folder))(japanese)
