"""What a run keeps beside its energy: where its data came from and how it was trained."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from lowland._errors import CheckpointError

FORMAT = "lowland-run"
FORMAT_VERSION = 1
_NAME = "run.json"


def write_run(folder: Path, run: dict[str, Any]) -> None:
    """Write `run.json`, whole or not at all.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    content = json.dumps(
        {"format": FORMAT, "format_version": FORMAT_VERSION, **run}, indent=2, ensure_ascii=False
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{_NAME}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(content + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, folder / _NAME)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CheckpointError(
            f"The run cannot be written to {folder}: {error.strerror or error}. Choose an --out "
            f"that you may write to, on a disk with room."
        ) from error


def read_run(folder: Path) -> dict[str, Any] | None:
    """Read `run.json`; None where a folder holds an energy that was saved without one.

    Raises:
        CheckpointError: there is no folder, or the file is damaged or foreign.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"There is no run at {folder}. `lowland fit … --out {folder}` makes one."
        )
    path = folder / _NAME
    if not path.exists():
        return None
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read, or was cut short: {error}.") from error
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise CheckpointError(f"{path} is foreign: it is not a {FORMAT}.")
    if run.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} is of format version {run.get('format_version')!r}, and this lowland reads "
            f"{FORMAT_VERSION}. Use the lowland that wrote it: {run.get('versions')}."
        )
    missing = {"data", "energy", "training"} - run.keys()
    if missing:
        raise CheckpointError(
            f"{path} is incomplete: it does not say {', '.join(sorted(missing))}."
        )
    if (folder / "tokenizer.json").exists():
        # Wherever the folder has been moved to since.
        run["data"]["options"]["tokenizer"] = str(folder.resolve() / "tokenizer.json")
    return run
