"""Save and load an energy, scaling included."""

from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lowland._errors import CheckpointError
from lowland._version import __version__
from lowland.checkpoint.describe import CONSTANT, Describer, Rebuilder, public_name
from lowland.checkpoint.files import read_bundle, write_bundle
from lowland.energy import Energy

FORMAT = "lowland-energy"
FORMAT_VERSION = 1

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def save(energy: Energy, path: str | PathLike[str]) -> None:
    """Write an energy to a folder: tensors as safetensors, class and configuration as JSON.

    The folder holds `energy.json` and the tensors it names by checksum. An interrupted save leaves
    the earlier one intact.

    Args:
        energy: any energy. A module of yours inside it is saved by its weights only; load such a
            checkpoint with `into=`.
        path: the folder, made if needed.

    Raises:
        CheckpointError: the folder cannot be written, a tensor is not finite, or the configuration
            holds something that JSON cannot.

    Example:
        >>> import tempfile
        >>> energy = ll.energies.KMeans(torch.tensor([[0.0], [1.0]]))
        >>> folder = tempfile.mkdtemp()
        >>> save(energy, folder)
        >>> load(folder).prototypes.tolist()
        [[0.0], [1.0]]
    """
    describer = Describer(energy)
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "class": public_name(type(energy)),
        "versions": {"lowland": __version__, "torch": str(torch.__version__)},
        "energy": describer.describe(energy),
    }
    # Two names for one tensor are written once each: safetensors keeps no aliases.
    tensors = {key: tensor.detach().clone() for key, tensor in describer.tensors.items()}
    write_bundle(Path(path), "energy", tensors, manifest)


def load(path: str | PathLike[str], *, into: Energy | None = None) -> Energy:
    """Read an energy from a folder; no code of the file's choosing is imported or run.

    Args:
        path: the folder that `save` wrote.
        into: an energy of the same class to receive the weights, for one that holds modules of
            yours; None rebuilds the energy from its description.

    Returns:
        Energy: the energy, on the CPU, in evaluation mode.

    Raises:
        CheckpointError: the folder is missing, truncated, altered, foreign, or of a class that has
            not been imported.
    """
    folder = Path(path)
    tensors, manifest = read_bundle(folder, "energy", FORMAT)
    if manifest.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder} was written in format version {manifest.get('format_version')!r}; this "
            f"lowland reads version {FORMAT_VERSION}. Install the lowland that wrote it: "
            f"{manifest.get('versions')}."
        )
    if into is None:
        energy = _rebuilt(folder, tensors, manifest.get("energy"))
        if not isinstance(energy, Energy):
            raise CheckpointError(f"{folder} describes a {type(energy).__name__}, not an energy.")
    else:
        energy = into
        if public_name(type(into)) != manifest.get("class"):
            raise CheckpointError(
                f"{folder} holds a {manifest.get('class')}, which cannot be loaded into a "
                f"{public_name(type(into))}."
            )
        differing = _difference(manifest.get("energy"), Describer(into).describe(into))
        if differing is not None:
            raise CheckpointError(
                f"{folder} was saved with another configuration than the energy it is to be loaded "
                f"into: {differing}. Build the energy with the same arguments."
            )
    state = {key: value for key, value in tensors.items() if not key.startswith(CONSTANT)}
    check_state(energy, state, folder)
    energy.load_state_dict(state, assign=True)
    return energy.eval()


def _rebuilt(folder: Path, tensors: dict[str, Tensor], description: Any) -> Any:
    try:
        with torch.random.fork_rng(devices=[]):  # layers draw a start that is overwritten at once
            return Rebuilder(tensors).rebuild(description)
    except CheckpointError:
        raise
    except (ArithmeticError, LookupError, RecursionError, RuntimeError, TypeError, ValueError) as e:
        raise CheckpointError(f"{folder} holds a description that cannot be followed: {e}.") from e


def _difference(saved: Any, now: Any, where: str = "energy") -> str | None:
    """The first place at which two descriptions differ; tensors may, for they are to be loaded."""
    if isinstance(saved, dict) and isinstance(now, dict):
        if "opaque" in saved or "tensor" in saved:
            return None if saved.keys() == now.keys() else f"{where} is {now}, saved was {saved}"
        for key in saved.keys() | now.keys():
            found = _difference(saved.get(key), now.get(key), f"{where}.{key}")
            if found is not None:
                return found
        return None
    if isinstance(saved, list) and isinstance(now, list) and len(saved) == len(now):
        pairs = enumerate(zip(saved, now, strict=True))
        return next(
            (d for i, (a, b) in pairs if (d := _difference(a, b, f"{where}[{i}]")) is not None),
            None,
        )
    return None if saved == now else f"{where} is {now!r}, saved was {saved!r}"


def check_state(energy: nn.Module, state: dict[str, Tensor], folder: Path) -> None:
    """Raise `CheckpointError` unless the tensors are finite and fit the energy one by one."""
    for key, value in state.items():
        if value.is_floating_point() and value.dtype not in _FLOATS:
            raise CheckpointError(
                f"'{key}' in {folder} is {value.dtype}; energies are kept in {_FLOATS}."
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"'{key}' in {folder} holds NaN or infinite values.")
    expected = energy.state_dict()
    if expected.keys() != state.keys():
        missing, extra = sorted(expected.keys() - state), sorted(state.keys() - expected.keys())
        raise CheckpointError(
            f"{folder} does not fit its energy: tensors missing {missing}, not expected {extra}."
        )
    for key, value in expected.items():
        if value.shape != state[key].shape:
            raise CheckpointError(
                f"{folder} does not fit its energy: '{key}' should have shape "
                f"{tuple(value.shape)}, got {tuple(state[key].shape)}."
            )
