from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModel, BertForMaskedLM, BertForPreTraining, ElectraConfig, ElectraModel

from spacy_jbert.encoder import Encoder
from spacy_jbert.pretraining.objective import MaskedLM


def batch(n_vocabulary: int, seed: int = 0) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, n_vocabulary, (3, 20), generator=random)
    attention = torch.ones_like(ids)
    attention[1, 15:] = 0
    positions = torch.tensor([1, 4, 5, 25, 41, 58])
    return {"input_ids": ids, "attention_mask": attention, "positions": positions, "labels": ids.flatten()[positions]}


def test_sparse_loss_is_the_dense_one(encoder: Encoder) -> None:
    model = MaskedLM(encoder).eval()
    inputs = batch(len(encoder.tokenizer))
    labels = torch.full((60,), -100)
    labels[inputs["positions"]] = inputs["labels"]
    hidden = encoder(inputs["input_ids"], inputs["attention_mask"])
    dense = F.cross_entropy(model.logits(hidden).flatten(0, 1), labels)
    output = model(**inputs)
    assert output["loss"].item() == pytest.approx(dense.item(), abs=1e-6)
    assert output["masked_loss"].item() == pytest.approx(dense.item() * 6, rel=1e-5)


def test_accumulated_batches_weigh_by_their_masked_pieces(encoder: Encoder) -> None:
    model = MaskedLM(encoder).eval()
    whole = batch(len(encoder.tokenizer))
    parts = [{"positions": whole["positions"][part], "labels": whole["labels"][part]} for part in (slice(0, 1), slice(1, 6))]
    losses = [model(**whole | part, num_items_in_batch=torch.tensor(6))["loss"].item() for part in parts]
    assert sum(losses) == pytest.approx(model(**whole)["loss"].item(), rel=1e-5)


def test_saved_folder_is_a_bert_for_masked_lm(encoder: Encoder, tmp_path: Path) -> None:
    model = MaskedLM(encoder, seed=3).eval()
    with torch.no_grad():
        model.bias.normal_()
    for _ in range(2):  # the second time it replaces the first
        model.save(encoder, tmp_path / "encoder")
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]
    inputs = batch(len(encoder.tokenizer))
    loaded, report = BertForMaskedLM.from_pretrained(tmp_path / "encoder", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    theirs = loaded.eval()(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits.flatten(0, 1)
    ours = model.logits(encoder(inputs["input_ids"], inputs["attention_mask"])).flatten(0, 1)
    torch.testing.assert_close(theirs, ours)
    bare = AutoModel.from_pretrained(tmp_path / "encoder", add_pooling_layer=False).eval()
    torch.testing.assert_close(bare(inputs["input_ids"]).last_hidden_state, encoder(inputs["input_ids"]))
    # Whoever goes on from it goes on with its head.
    again = MaskedLM(Encoder.load(tmp_path / "encoder"), seed=4)
    assert all(torch.equal(tensor, again.head()[name]) for name, tensor in model.head().items())


def test_sentence_objective(encoder: Encoder, tmp_path: Path) -> None:
    model = MaskedLM(encoder, sentences=True).eval()
    inputs = batch(len(encoder.tokenizer)) | {"sentence_labels": torch.tensor([0, 1, -100])}
    inputs["token_type_ids"] = (torch.arange(20) > 9).long().expand(3, 20)
    output = model(**inputs)
    model.save(encoder, tmp_path / "encoder")
    theirs = BertForPreTraining.from_pretrained(tmp_path / "encoder").eval()
    scores = theirs(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], token_type_ids=inputs["token_type_ids"]
    ).seq_relationship_logits
    expected = output["masked_loss"] / 6 + F.cross_entropy(scores[:2], inputs["sentence_labels"][:2])
    assert output["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert output["pairs"] == 2
    no_pairs = model(**inputs | {"sentence_labels": torch.full((3,), -100)})["loss"]
    assert no_pairs.item() == pytest.approx(output["masked_loss"].item() / 6, rel=1e-5)


def test_an_encoder_that_is_no_bert(encoder: Encoder, tmp_path: Path) -> None:
    config = ElectraConfig(
        vocab_size=512, embedding_size=16, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    electra = Encoder(model=ElectraModel(config).eval(), tokenizer=encoder.tokenizer)
    model = MaskedLM(electra)
    model(**batch(len(encoder.tokenizer)))["loss"].backward()
    assert electra.model.get_input_embeddings().weight.grad.abs().sum() > 0
    model.save(electra, tmp_path / "encoder")
    assert Encoder.load(tmp_path / "encoder").width == 32


def test_the_encoder_is_trained_in_place(pipe: SimpleNamespace) -> None:
    model = MaskedLM(pipe.encoder)
    assert model.encoder is pipe.encoder.model
    assert len(list(model.parameters())) == len({id(parameter) for parameter in model.parameters()})
