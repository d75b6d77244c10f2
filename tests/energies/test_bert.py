"""A model of `transformers` is read and written, and gives the same logits."""

import json
from pathlib import Path

import pytest
import torch

import lowland as ll
from lowland.energies import MaskedTokens

transformers = pytest.importorskip("transformers")
Y = torch.randint(5, 100, (3, 12), generator=torch.Generator().manual_seed(0))
Y[0, 8:] = 0


@pytest.fixture
def bert() -> torch.nn.Module:
    config = transformers.BertConfig(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=12,
    )
    model = transformers.BertForMaskedLM(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def test_it_is_read_and_written_with_the_same_logits(bert: torch.nn.Module, tmp_path: Path) -> None:
    bert.save_pretrained(tmp_path / "theirs")
    energy = MaskedTokens.from_bert(tmp_path / "theirs", blank=4)
    with torch.no_grad():
        expected = bert(input_ids=Y, attention_mask=(Y != 0).long()).logits
    real = Y != 0
    assert torch.allclose(energy.logits(Y)[real], expected[real], atol=1e-4)
    energy.to_bert(tmp_path / "ours")
    again = transformers.BertForMaskedLM.from_pretrained(tmp_path / "ours").eval()
    with torch.no_grad():
        found = again(input_ids=Y, attention_mask=real.long()).logits
    assert torch.allclose(found[real], expected[real], atol=1e-5)
    ll.save(energy, tmp_path / "kept")
    assert torch.equal(ll.score(ll.load(tmp_path / "kept"), Y), ll.score(energy, Y))


def test_what_is_no_bert_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ll.CheckpointError, match="no model that can be read"):
        MaskedTokens.from_bert(tmp_path)
    MaskedTokens(
        9, 4, 8, 1, 2, convolution=0, post_norm=True, segments=2, blank=4, padding=0
    ).to_bert(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for name, value in {"hidden_act": "relu", "tie_word_embeddings": False}.items():
        path.write_text(json.dumps(config | {name: value}), encoding="utf-8")
        with pytest.raises(ll.CheckpointError, match=f"says {name}={value!r}"):
            MaskedTokens.from_bert(tmp_path, blank=4)
    path.write_text(json.dumps(config | {"num_hidden_layers": 2}), encoding="utf-8")
    with pytest.raises(ll.CheckpointError, match="holds no tensor"):
        MaskedTokens.from_bert(tmp_path, blank=4)
    with pytest.raises(ll.CapabilityError, match="BERT has norms after"):
        MaskedTokens(9).to_bert(tmp_path)
