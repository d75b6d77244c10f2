"""A model of `transformers` is read and written, and gives the same logits."""

from pathlib import Path

import pytest
import torch

import lowland as ll
from lowland.energies import MaskedTokens

transformers = pytest.importorskip("transformers")
Y = torch.randint(5, 40, (3, 12), generator=torch.Generator().manual_seed(0))
Y[0, 8:] = 0


@pytest.fixture
def bert() -> torch.nn.Module:
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=12,
    )
    model = transformers.BertForMaskedLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
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
    with pytest.raises(ll.CapabilityError, match="BERT has norms after"):
        MaskedTokens(9).to_bert(tmp_path)
