import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import lowland as ll
from lowland.train import Record

Y = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
SOURCE = str(Path(ll.__file__).parents[1])
OPTIMIZERS = {
    "adam": functools.partial(torch.optim.Adam, lr=1e-2),
    "amsgrad": functools.partial(torch.optim.AdamW, lr=1e-2, amsgrad=True),
    "momentum": functools.partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
    "sgd": functools.partial(torch.optim.SGD, lr=1e-2),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def autoencoder(hidden: int = 6) -> ll.energies.Autoencoder:
    return ll.energies.Autoencoder.from_data(Y, hidden=(hidden,), code=3, generator=seeded(1))


def bits(energy: ll.Energy) -> list[bytes]:
    return [value.numpy().tobytes() for value in energy.state_dict().values()]


# Real processes. The script stops at a step by a signal to itself, or runs through.

SCRIPT = """
import functools, os, signal, sys
import torch
import lowland as ll

torch.set_num_threads(1)
y = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))

def run(name):
    def stop(record):
        if record.step == 9:
            os.kill(os.getpid(), getattr(signal, name))

    g = torch.Generator().manual_seed(1)
    energy = ll.energies.Autoencoder.from_data(y, hidden=(6,), code=3, generator=g)
    return ll.fit(
        energy, y, ll.Denoising(), steps=20, batch_size=16, checkpoint=sys.argv[1] + name,
        checkpoint_every=3, record_every=1, callbacks=(stop,),
        optimizer=functools.partial(torch.optim.Adam, lr=1e-2),
        generator=torch.Generator().manual_seed(0),
    )

fit = run("SIGINT")
print(fit.stopped, fit.steps, flush=True)
run("SIGKILL")
"""


@pytest.fixture(scope="module")
def process(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A process that trained until Ctrl-C, trained again, and was killed."""
    folder = tmp_path_factory.mktemp("process")
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, f"{folder}/"],
        env={**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return folder, ended


def straight_hash(steps: int) -> str:
    energy = autoencoder()
    ll.fit(
        energy,
        Y,
        ll.Denoising(),
        steps=steps,
        batch_size=16,
        generator=seeded(),
        optimizer=OPTIMIZERS["adam"],
    )
    return digest(energy)


def digest(energy: ll.Energy) -> str:
    return hashlib.sha256(b"".join(bits(energy))).hexdigest()


def resumed_hash(folder: Path, steps: int) -> str:
    energy = autoencoder()
    ll.fit(
        energy,
        Y,
        ll.Denoising(),
        steps=steps,
        batch_size=16,
        generator=seeded(7),
        optimizer=OPTIMIZERS["adam"],
        checkpoint=folder,
        resume=True,
    )
    return digest(energy)


def test_a_killed_process_is_resumed_to_the_same_bits(process: Any) -> None:
    folder, ended = process[0] / "SIGKILL", process[1]
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert json.loads((folder / "training.json").read_text())["step"] == 6
    assert digest(ll.load(folder)) == straight_hash(6)
    assert resumed_hash(folder, 20) == straight_hash(20)


def test_ctrl_c_keeps_what_was_learned(process: Any) -> None:
    folder, ended = process[0] / "SIGINT", process[1]
    stopped, steps = ended.stdout.split()
    assert stopped == "interrupted"
    assert int(steps) in (9, 10)
    assert digest(ll.load(folder)) == straight_hash(int(steps))
    assert resumed_hash(folder, 20) == straight_hash(20)


def test_ctrl_c_in_a_callback_keeps_what_was_learned(tmp_path: Path) -> None:
    def interrupt(record: Record) -> None:
        if record.step == 5:
            raise KeyboardInterrupt

    energy, five = autoencoder(), autoencoder()
    fit = ll.fit(
        energy,
        Y,
        ll.Denoising(),
        steps=50,
        batch_size=16,
        record_every=1,
        generator=seeded(),
        callbacks=(interrupt,),
        checkpoint=tmp_path,
    )
    assert (fit.stopped, fit.converged, fit.steps) == ("interrupted", False, 5)
    assert fit.history.step == (1, 2, 3, 4, 5)
    assert not energy.training
    ll.fit(five, Y, ll.Denoising(), steps=5, batch_size=16, generator=seeded())
    assert bits(energy) == bits(five)
    assert bits(ll.load(tmp_path)) == bits(five)
