"""Tiny checkpoints of every family of tokenizer, built from a config and a vocabulary of the
sentences below: no hub is asked.
"""

import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AlbertConfig,
    AutoModel,
    BertConfig,
    BertJapaneseTokenizer,
    BertTokenizerFast,
    DebertaV2Config,
    DebertaV2TokenizerFast,
    ElectraConfig,
    ElectraTokenizerFast,
    LlamaConfig,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
)

from spacy_jbert.encoder.checkpoint import Encoder

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SHARED = Path(__file__).parents[2] / "shared"

SENTENCES = [
    "吾輩は猫である。名前はまだ無い。",
    "田中さんは昨日、東京で新しい図書館を見学しました。",
    "鈴木先生が来週京都へ出張すると聞いて驚いた。",
    "山田社長によると、大阪の桜はもう満開だそうだ。",
    "私の友人は札幌市で小さなパン屋を開いた。",
    "ソニーとトヨタ自動車が名古屋で共同開発を始める。",
    "この映画はとても面白かったので、もう一度見たい。",
    "料理は美味しいが、値段が高くて量も少ない。",
    "雨が降りそうだから、傘を持って行きなさい。",
    "彼女は毎朝六時に起きて、犬と公園を散歩する。",
    "電車が遅れたせいで、大事な会議に間に合わなかった。",
    "Pythonで自然言語処理を学ぶのは楽しい。",
    "二〇二四年三月一日に株式会社ニホンが設立された。",
    "「もう帰ろう」と佐藤くんは静かに言った。",
    "コンピューターの性能は年々向上している。",
    "海の見える部屋を予約したいのですが、空いていますか？",
    "渡辺さんの息子は福岡大学で経済学を勉強している。",
    "昔々、ある山のふもとに、お爺さんとお婆さんがいました。",
    "この店のラーメンは安くて美味しいと評判だ！",
    "国会は予算案を賛成多数で可決した。",
]
# Names in the sentences, for training heads on.
ENTITIES = {
    "田中": "PERSON",
    "鈴木": "PERSON",
    "山田": "PERSON",
    "佐藤": "PERSON",
    "渡辺": "PERSON",
    "東京": "GPE",
    "京都": "GPE",
    "大阪": "GPE",
}
ENTITIES |= {
    "札幌市": "GPE",
    "名古屋": "GPE",
    "ソニー": "ORG",
    "トヨタ自動車": "ORG",
    "福岡大学": "ORG",
}

_BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_BERT_NAMES = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
_XLM_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
_XLM_NAMES = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
}
_XLM_NAMES |= {"unk_token": "<unk>", "mask_token": "<mask>"}
_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}


@cache
def wordpieces() -> list[str]:
    """Special pieces, every character (and every pair of them, now and then) in both forms."""
    text = (
        "".join(SENTENCES)
        + "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ[]<>/:.-ガギグアイウーか"
    )
    chars = sorted(set(text))
    pairs = sorted(
        {sentence[i : i + 2] for sentence in SENTENCES for i in range(0, len(sentence) - 1, 3)}
    )
    return (
        _BERT_SPECIAL
        + chars
        + [f"##{char}" for char in chars]
        + pairs
        + [f"##{pair}" for pair in pairs]
    )


def _vocabulary_file(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(wordpieces()) + "\n", encoding="utf-8")
    return str(folder / "vocab.txt")


def _unigram(special: list[str], prefix: str, suffix: str) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=250,
        special_tokens=special,
        unk_token=next(s for s in special if "unk" in s.lower()),
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = _template(tokenizer, prefix, suffix)
    return tokenizer


def _template(tokenizer: Tokenizer, prefix: str, suffix: str) -> Any:
    names = [name for name in (prefix, suffix) if name]
    return processors.TemplateProcessing(
        single=" ".join(part for part in (prefix, "$A", suffix) if part),
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in names],
    )


def _llama_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=700, special_tokens=special)
    )
    # As in a converted checkpoint, the bytes are pieces of the model and nothing special.
    bare = Tokenizer.from_str(tokenizer.to_str())
    bare.add_special_tokens(["<unk>", "<s>", "</s>"])
    bare.post_processor = _template(bare, "<s>", "")
    return bare


def _byte_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=_BERT_SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = _template(tokenizer, "[CLS]", "[SEP]")
    return tokenizer


def _japanese(**settings: Any) -> Callable[[Path], Any]:
    return lambda folder: BertJapaneseTokenizer(_vocabulary_file(folder), **settings)


# Each family: its tokenizer, given a folder to put a vocabulary into, and its config, given that
# tokenizer.
FAMILIES: dict[str, tuple[Callable[[Path], Any], Callable[[Any], Any]]] = {
    "mecab-unidic": (
        _japanese(word_tokenizer_type="mecab", mecab_kwargs={"mecab_dic": "unidic_lite"}),
        lambda t: BertConfig(vocab_size=len(t), **_SIZES),
    ),
    "mecab-ipadic": (
        _japanese(word_tokenizer_type="mecab", mecab_kwargs={"mecab_dic": "ipadic"}),
        lambda t: BertConfig(vocab_size=len(t), **_SIZES),
    ),
    "mecab-character": (
        _japanese(
            word_tokenizer_type="mecab",
            subword_tokenizer_type="character",
            mecab_kwargs={"mecab_dic": "unidic_lite"},
        ),
        lambda t: BertConfig(vocab_size=len(t), **_SIZES),
    ),
    "sudachi": (
        _japanese(
            word_tokenizer_type="sudachi",
            do_lower_case=True,
            sudachi_kwargs={"sudachi_split_mode": "A"},
        ),
        lambda t: BertConfig(vocab_size=len(t), **_SIZES),
    ),
    "basic": (
        _japanese(word_tokenizer_type="basic"),
        lambda t: BertConfig(vocab_size=len(t), **_SIZES),
    ),
    "basic-lower": (
        _japanese(word_tokenizer_type="basic", do_lower_case=True),
        lambda t: BertConfig(vocab_size=len(t), **_SIZES),
    ),
    "bert-fast": (
        lambda folder: BertTokenizerFast(vocab_file=_vocabulary_file(folder), do_lower_case=False),
        lambda t: BertConfig(vocab_size=len(t), **_SIZES),
    ),
    "electra": (
        lambda folder: ElectraTokenizerFast(
            vocab_file=_vocabulary_file(folder), do_lower_case=False, tokenize_chinese_chars=False
        ),
        lambda t: ElectraConfig(vocab_size=len(t), embedding_size=12, **_SIZES),
    ),
    "xlm-roberta": (
        lambda folder: PreTrainedTokenizerFast(
            tokenizer_object=_unigram(_XLM_SPECIAL, "<s>", "</s>"), **_XLM_NAMES
        ),
        lambda t: XLMRobertaConfig(vocab_size=len(t), pad_token_id=1, **_SIZES),
    ),
    "deberta-v2": (
        lambda folder: DebertaV2TokenizerFast(
            tokenizer_object=_unigram(_BERT_SPECIAL, "[CLS]", "[SEP]"), **_BERT_NAMES
        ),
        lambda t: DebertaV2Config(
            vocab_size=len(t),
            relative_attention=True,
            position_buckets=8,
            pos_att_type=["p2c", "c2p"],
            **_SIZES,
        ),
    ),
    "albert": (
        lambda folder: PreTrainedTokenizerFast(
            tokenizer_object=_unigram(_BERT_SPECIAL, "[CLS]", "[SEP]"), **_BERT_NAMES
        ),
        lambda t: AlbertConfig(vocab_size=len(t), embedding_size=12, **_SIZES),
    ),
    "llama": (
        lambda folder: PreTrainedTokenizerFast(
            tokenizer_object=_llama_bpe(), bos_token="<s>", eos_token="</s>", unk_token="<unk>"
        ),
        lambda t: LlamaConfig(vocab_size=len(t), num_key_value_heads=2, **_SIZES),
    ),
    "modernbert": (
        lambda folder: PreTrainedTokenizerFast(tokenizer_object=_byte_bpe(), **_BERT_NAMES),
        lambda t: ModernBertConfig(
            vocab_size=len(t),
            pad_token_id=0,
            cls_token_id=2,
            sep_token_id=3,
            bos_token_id=2,
            eos_token_id=3,
            local_attention=16,
            **_SIZES,
        ),
    ),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow tests first, so that no process is left alone with them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def wheel_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has this package as a wheel, and no network."""
    from . import hour

    return hour.installed(tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's tiny checkpoint, as its makers would have uploaded it."""

    @cache
    def build(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family)
        make_tokenizer, make_config = FAMILIES[family]
        tokenizer = make_tokenizer(folder / "vocabulary")
        torch.manual_seed(0)
        AutoModel.from_config(make_config(tokenizer)).save_pretrained(folder / "checkpoint")
        tokenizer.save_pretrained(folder / "checkpoint")
        return folder / "checkpoint"

    return build


@pytest.fixture(scope="session")
def tokenizers(checkpoint: Callable[[str], Path]) -> Callable[[str], Any]:
    """A family's tokenizer, loaded once."""
    return cache(lambda family: Encoder.load(checkpoint(family)).tokenizer)


@pytest.fixture(scope="session")
def japanese() -> Language:
    """Only a tokenizer."""
    return spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})


@pytest.fixture
def make_doc(japanese: Language) -> Callable[[str], Doc]:
    """A text to a Doc, even one that the tokenizer in front chokes on: then a single token."""

    def make(text: str) -> Doc:
        return (
            japanese.make_doc(text)
            if "\0" not in text
            else Doc(japanese.vocab, words=[text], spaces=[False])
        )

    return make


@pytest.fixture
def make_nlp(checkpoint: Callable[[str], Path]) -> Callable[..., Language]:
    """A pipeline with a tiny transformer, `heads` (name, factory, config) behind it, initialised on
    `examples`.
    """

    def make(
        heads: Sequence[tuple[str, str, dict[str, Any]]] = (),
        examples: Callable[[Language], list[Example]] | None = None,
        family: str = "bert-fast",
        folder: Path | None = None,
        hidden_dropout: float = 0.0,
        **settings: Any,
    ) -> Language:
        torch.manual_seed(0)
        nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
        nlp.add_pipe(
            "jbert_transformer", name="transformer", config={"model": {"overlap": 8, **settings}}
        )
        for name, factory, config in heads:
            nlp.add_pipe(factory, name=name, config=config)
        loader = {
            "@misc": "spacy-jbert.HFEncoder.v1",
            "name": str(folder or checkpoint(family)),
            "hidden_dropout": hidden_dropout,
        }
        nlp.config["initialize"]["components"]["transformer"] = {"encoder": loader}
        nlp.initialize((lambda: examples(nlp)) if examples else None)
        return nlp

    return make


@pytest.fixture(scope="session")
def ner_examples() -> Callable[[Language], list[Example]]:
    """The sentences with their names, as stock training would read them."""

    def make(nlp: Language) -> list[Example]:
        examples = []
        for sentence in SENTENCES:
            doc = nlp.make_doc(sentence)
            found = [
                (sentence.find(name), sentence.find(name) + len(name), label)
                for name, label in ENTITIES.items()
                if name in sentence
            ]
            # 京都 is in 東京都 too; whatever the tokenizer can't express stays out.
            spans = [
                span
                for start, end, label in found
                if (span := doc.char_span(start, end, label=label)) is not None
            ]
            doc.set_ents(spacy.util.filter_spans(spans))
            examples.append(Example(nlp.make_doc(sentence), doc))
        return examples

    return make


@pytest.fixture(scope="session")
def real_encoder() -> Path:
    """The real encoder beside the repository."""
    folder = SHARED / "models" / "me5-small-ja"
    if not (folder / "config.json").is_file():
        pytest.skip("../shared/models/me5-small-ja is not here")
    return folder


def listener(**settings: Any) -> dict[str, Any]:
    return {"@architectures": "spacy-jbert.TransformerListener.v1", **settings}


def stock_listener() -> dict[str, Any]:
    return {
        "@architectures": "spacy-transformers.TransformerListener.v1",
        "grad_factor": 1.0,
        "pooling": {"@layers": "reduce_mean.v1"},
    }
