"""Files that are whole or absent: a JSON manifest that names its tensors by their checksum."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lowland._errors import CheckpointError


def write_bundle(
    folder: Path, name: str, tensors: Mapping[str, Tensor], manifest: Mapping[str, object]
) -> None:
    """Write `name.json` and the tensors it names, so that a kill leaves the old pair or the new.

    The tensors go to a file called by their checksum; replacing the manifest is the one atomic
    moment at which the new pair takes effect, and only then are older tensors removed.

    Raises:
        CheckpointError: the folder cannot be written, or a tensor is not finite.
    """
    from safetensors.torch import save as to_bytes

    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"'{key}' holds NaN or infinite values, so it was not written to {folder}; what "
                f"was there is untouched. Train again from the last good checkpoint."
            )
    # Clones, for safetensors refuses two names of one memory (tied weights).
    whole = torch.contiguous_format
    payload = to_bytes(
        {key: t.detach().cpu().clone(memory_format=whole) for key, t in tensors.items()}
    )
    digest = hashlib.sha256(payload).hexdigest()
    tensor_file = f"{name}-{digest[:16]}.safetensors"
    written = {**manifest, "tensors": {"file": tensor_file, "sha256": digest}}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / tensor_file, payload)
        _replace(folder / f"{name}.json", json.dumps(written, indent=2).encode())
        for old in folder.glob(f"{name}-{'[0-9a-f]' * 16}.safetensors"):
            if old.name != tensor_file:
                old.unlink()
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint {folder} cannot be written: {error.strerror or error}. Choose a "
            f"folder that you may write to, on a disk with room."
        ) from error


def _replace(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)  # it can only be read by setting it
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_bundle(folder: Path, name: str, form: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_bundle` wrote, refusing anything that is not exactly that.

    Args:
        folder: where the bundle is.
        name: its name.
        form: what the manifest must say under "format".

    Raises:
        CheckpointError: the folder or a file is missing, truncated, altered or foreign.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    manifest = _manifest(folder, name, form)
    entry = manifest.get("tensors")
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise CheckpointError(f"{folder / name}.json does not say which file holds its tensors.")
    path = folder / entry["file"]
    if path.parent != folder or not _is_file(path):
        raise CheckpointError(f"The tensors of {folder} are missing: there is no file {path.name}.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    if hashlib.sha256(content).hexdigest() != entry.get("sha256"):
        raise CheckpointError(
            f"{path} is not what was saved: it is truncated or altered, for its checksum differs "
            f"from the one in {name}.json. Copy the whole folder again."
        )
    try:
        tensors = from_bytes(content)
    except (SafetensorError, ValueError, LookupError) as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}.") from error
    # Memory of their own, aligned as torch aligns it: products may differ in the last bit else.
    return {key: tensor.clone() for key, tensor in tensors.items()}, manifest


def _manifest(folder: Path, name: str, form: str) -> dict[str, Any]:
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"There is no checkpoint at {folder}: the folder does not exist."
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"There is no checkpoint at {folder}: {error}.") from error
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is a file. A checkpoint is a folder that holds {name}.json."
        )
    path = folder / f"{name}.json"
    if not _is_file(path):
        raise CheckpointError(f"{folder} is not a checkpoint: it holds no {name}.json.")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        raise CheckpointError(f"{path} is not JSON, or was cut short: {error}.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != form:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise CheckpointError(f"{path} is foreign: expected format {form!r}, got {found!r}.")
    return manifest


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with a NUL in it
        return False
