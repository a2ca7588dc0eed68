import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    BertForMaskedLM,
    BertForPreTraining,
    DistilBertConfig,
)

from spacy_jbert.encoder.checkpoint import Encoder
from spacy_jbert.pretraining.objective import MaskedLM


def batch(n_vocabulary: int, seed: int = 0) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, n_vocabulary, (3, 20), generator=random)
    attention = torch.ones_like(ids)
    attention[1, 15:] = 0
    positions = torch.tensor([1, 4, 5, 25, 41, 58])
    return {
        "input_ids": ids,
        "attention_mask": attention,
        "positions": positions,
        "labels": ids.flatten()[positions],
    }


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
    parts = [
        {"positions": whole["positions"][part], "labels": whole["labels"][part]}
        for part in (slice(0, 1), slice(1, 6))
    ]
    losses = [
        model(**whole | part, num_items_in_batch=torch.tensor(6))["loss"].item() for part in parts
    ]
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
    theirs = loaded.eval()(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
    ).logits.flatten(0, 1)
    ours = model.logits(encoder(inputs["input_ids"], inputs["attention_mask"])).flatten(0, 1)
    torch.testing.assert_close(theirs, ours)
    bare = AutoModel.from_pretrained(tmp_path / "encoder", add_pooling_layer=False).eval()
    torch.testing.assert_close(
        bare(inputs["input_ids"]).last_hidden_state, encoder(inputs["input_ids"])
    )
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
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        token_type_ids=inputs["token_type_ids"],
    ).seq_relationship_logits
    expected = output["masked_loss"] / 6 + F.cross_entropy(
        scores[:2], inputs["sentence_labels"][:2]
    )
    assert output["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert output["pairs"] == 2
    no_pairs = model(**inputs | {"sentence_labels": torch.full((3,), -100)})["loss"]
    assert no_pairs.item() == pytest.approx(output["masked_loss"].item() / 6, rel=1e-5)


@pytest.mark.parametrize("family", ["electra", "xlm-roberta", "deberta-v2", "albert", "modernbert"])
def test_families_whose_head_is_like_berts(
    checkpoint: Callable[[str], Path], family: str, tmp_path: Path
) -> None:
    goes_on_with_its_head(Encoder.load(checkpoint(family)), tmp_path)


def goes_on_with_its_head(encoder: Encoder, tmp_path: Path) -> None:
    """What is saved is the family's own masked-LM model, and one goes on with its head."""
    model = MaskedLM(encoder, seed=3).eval()
    with torch.no_grad():
        for tensor in model.head().values():
            tensor.normal_()
    model(**batch(200))["loss"].backward()
    assert encoder.model.get_input_embeddings().weight.grad.abs().sum() > 0
    model.save(encoder, tmp_path / "encoder")
    theirs, report = AutoModelForMaskedLM.from_pretrained(
        tmp_path / "encoder", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ids = batch(200)["input_ids"]
    torch.testing.assert_close(theirs.eval()(input_ids=ids).logits, model.logits(encoder(ids)))
    again = MaskedLM(Encoder.load(tmp_path / "encoder"), seed=4)
    assert all(torch.equal(tensor, again.head()[name]) for name, tensor in model.head().items())


@pytest.mark.parametrize(
    "biases",
    [
        {"classifier_bias": True, "norm_bias": True, "decoder_bias": True},
        {"classifier_bias": False, "norm_bias": False, "decoder_bias": False},
    ],
)
def test_modernbert_chooses_its_biases(
    checkpoint: Callable[[str], Path], biases: dict[str, bool], tmp_path: Path
) -> None:
    tokenizer = Encoder.load(checkpoint("modernbert")).tokenizer
    config = AutoConfig.from_pretrained(checkpoint("modernbert"), **biases)
    config.classifier_activation = "relu"
    goes_on_with_its_head(Encoder(AutoModel.from_config(config).eval(), tokenizer), tmp_path)


def test_distilbert_has_berts_head(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    tokenizer = Encoder.load(checkpoint("bert-fast")).tokenizer
    size = len(tokenizer)
    config = DistilBertConfig(vocab_size=size, dim=16, n_layers=1, n_heads=2, hidden_dim=32)
    goes_on_with_its_head(Encoder(AutoModel.from_config(config).eval(), tokenizer), tmp_path)


def test_any_other_family_keeps_its_head_apart(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    encoder = Encoder.load(checkpoint("llama"))
    model = MaskedLM(encoder, seed=3)
    model(**batch(200))["loss"].backward()
    model.save(encoder, tmp_path / "encoder")
    again = MaskedLM(Encoder.load(tmp_path / "encoder"), seed=4)
    assert all(torch.equal(tensor, again.head()[name]) for name, tensor in model.head().items())


def test_packed_samples_are_as_good_as_single_ones(encoder: Encoder) -> None:
    """Beside longer samples in a padded batch, a sample gets the logits it gets alone."""
    model = MaskedLM(encoder).eval()
    ids = batch(len(encoder.tokenizer))["input_ids"]
    attention = torch.ones_like(ids)
    for row, length in enumerate((20, 7, 13)):
        ids[row, length:], attention[row, length:] = encoder.pad_id, 0
    together = model.logits(
        model.encoder(input_ids=ids, attention_mask=attention).last_hidden_state
    )
    for row, length in enumerate((20, 7, 13)):
        alone = model.logits(model.encoder(input_ids=ids[row : row + 1, :length]).last_hidden_state)
        torch.testing.assert_close(together[row, :length], alone[0], atol=1e-5, rtol=1e-5)


def test_sharded_weights_give_the_same_loss_and_gradients(encoder: Encoder, tmp_path: Path) -> None:
    """FSDP on the CPU, with a single process: the layers and the rest are units of their own, as
    training has them.
    """
    model = MaskedLM(encoder).eval()
    sharded = copy.deepcopy(model)
    inputs = batch(len(encoder.tokenizer))
    model(**inputs)["loss"].backward()
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    try:
        policy = ModuleWrapPolicy({type(encoder.model.encoder.layer[0])})
        wrapped = FullyShardedDataParallel(
            sharded, auto_wrap_policy=policy, use_orig_params=True, device_id=torch.device("cpu")
        )
        output = wrapped(**inputs)
        output["loss"].backward()
        torch.testing.assert_close(output["loss"], model(**inputs)["loss"])
        gradients = {
            name.replace("_fsdp_wrapped_module.", ""): parameter.grad
            for name, parameter in wrapped.named_parameters()
        }
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[name].reshape(parameter.shape), parameter.grad)
    finally:
        torch.distributed.destroy_process_group()


def test_the_encoder_is_trained_in_place(pipe: SimpleNamespace) -> None:
    model = MaskedLM(pipe.encoder)
    assert model.encoder is pipe.encoder.model
    assert len(list(model.parameters())) == len({id(parameter) for parameter in model.parameters()})


@pytest.mark.parametrize("stored", ["pytorch_model.bin", "sharded"])
@pytest.mark.parametrize("family", ["bert-fast", "electra", "xlm-roberta", "deberta-v2", "albert"])
def test_a_pretrained_head_is_found_however_it_is_stored(
    checkpoint: Callable[[str], Path], family: str, stored: str, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint(family), folder)
    (folder / "model.safetensors").unlink()
    theirs = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(folder)).eval()
    settings = {"max_shard_size": "8KB"} if stored == "sharded" else {"safe_serialization": False}
    theirs.save_pretrained(folder, **settings)
    encoder = Encoder.load(folder)
    torch.manual_seed(0)
    model = MaskedLM(encoder, seed=3).eval()
    after = torch.get_rng_state()
    encoder.model.config._name_or_path = ""
    torch.manual_seed(0)
    MaskedLM(encoder, seed=3)
    assert torch.equal(after, torch.get_rng_state())  # looking for a head draws nothing
    ids = batch(200)["input_ids"]
    torch.testing.assert_close(theirs(input_ids=ids).logits, model.logits(encoder(ids)))


def test_what_fine_tuning_froze_learns_again(encoder: Encoder) -> None:
    encoder.model.requires_grad_(False)
    model = MaskedLM(encoder)
    assert all(weight.requires_grad for weight in model.parameters())
