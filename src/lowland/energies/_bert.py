"""Weights of BERT as the `transformers` package writes them, and back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lowland._errors import CheckpointError

# Of each layer: our name, theirs.
_LAYER = {
    "outputs": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "feedforward_norm": "output.LayerNorm",
}
_PARTS = ("query", "key", "value")
_WHOLE = {
    "encoder.tokens.weight": "bert.embeddings.word_embeddings.weight",
    "encoder.places.weight": "bert.embeddings.position_embeddings.weight",
    "encoder.segments.weight": "bert.embeddings.token_type_embeddings.weight",
    "encoder.norm.weight": "bert.embeddings.LayerNorm.weight",
    "encoder.norm.bias": "bert.embeddings.LayerNorm.bias",
    "transform.weight": "cls.predictions.transform.dense.weight",
    "transform.bias": "cls.predictions.transform.dense.bias",
    "transform_norm.weight": "cls.predictions.transform.LayerNorm.weight",
    "transform_norm.bias": "cls.predictions.transform.LayerNorm.bias",
    "bias": "cls.predictions.bias",
}


def names_of(layers: int) -> dict[str, tuple[str, ...]]:
    """Which of their tensors make up each of ours, one below the other."""
    names: dict[str, tuple[str, ...]] = {ours: (theirs,) for ours, theirs in _WHOLE.items()}
    for i in range(layers):
        for kind in ("weight", "bias"):
            prefix = f"bert.encoder.layer.{i}"
            for ours, theirs in _LAYER.items():
                names[f"encoder.blocks.{i}.{ours}.{kind}"] = (f"{prefix}.{theirs}.{kind}",)
            parts = tuple(f"{prefix}.attention.self.{part}.{kind}" for part in _PARTS)
            names[f"encoder.blocks.{i}.inputs.{kind}"] = parts
    return names


def arguments_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What MaskedTokens must be told to have the shape that a config.json describes.

    Raises:
        CheckpointError: it describes another kind of model.
    """
    # What is so unless a config says otherwise.
    silent = {
        "tie_word_embeddings": True,
        "position_embedding_type": "absolute",
        "is_decoder": False,
    }
    said = {**silent, **config}
    for name, value in {"model_type": "bert", "hidden_act": "gelu", **silent}.items():
        if said.get(name) != value:
            raise CheckpointError(
                f"The model's config says {name}={said.get(name)!r}, and only {value!r} is read."
            )
    try:
        return {
            "vocabulary": config["vocab_size"],
            "length": config["max_position_embeddings"],
            "width": config["hidden_size"],
            "layers": config["num_hidden_layers"],
            "heads": config["num_attention_heads"],
            "feedforward": config["intermediate_size"],
            "segments": config["type_vocab_size"],
            "epsilon": config["layer_norm_eps"],
            "padding": config.get("pad_token_id"),
        }
    except KeyError as error:
        raise CheckpointError(f"The model's config.json does not say {error}.") from error


def config_of(energy: Any) -> dict[str, Any]:
    """The config.json of a MaskedTokens energy."""
    return {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "vocab_size": energy.vocabulary,
        "max_position_embeddings": energy.length,
        "hidden_size": energy.width,
        "num_hidden_layers": energy.layers,
        "num_attention_heads": energy.heads,
        "intermediate_size": energy.feedforward,
        "type_vocab_size": energy.segments,
        "layer_norm_eps": energy.epsilon,
        "pad_token_id": energy.padding,
        "tie_word_embeddings": True,
    }


def ours_of(theirs: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Our tensors from theirs.

    Raises:
        CheckpointError: one is missing.
    """
    found = {}
    for name, parts in names_of(layers).items():
        missing = [part for part in parts if part not in theirs]
        if missing:
            raise CheckpointError(f"The model holds no tensor {missing[0]!r}.")
        found[name] = torch.cat([theirs[part].float() for part in parts])
    return found


def theirs_of(ours: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Their tensors from ours, each in memory of its own."""
    found = {}
    for name, parts in names_of(layers).items():
        for part, tensor in zip(parts, ours[name].chunk(len(parts)), strict=True):
            found[part] = tensor.detach().cpu().clone()
    return found


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and the tensors of a folder.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tensors = load((folder / "model.safetensors").read_bytes())
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder} holds no model that can be read: {error}. Expected config.json and "
            f"model.safetensors, as save_pretrained writes them."
        ) from error
    return config, tensors


def write(folder: Path, config: Mapping[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write what `read` reads, and `transformers` too.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    from safetensors.torch import save

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))
        (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {error}.") from error
