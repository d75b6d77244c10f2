"""Next frames: least squares against one energy with a latent variable, on futures that are known.

    python benchmarks/next_frame.py turning|branches|bouncing|video [--k 6] [--steps N] [--slice S]

**turning**: MNIST digits at half size on 32×32 pixels move straight on, and in the next frame go on
(.4) or turn by 60° to either side (.3 each). Two energies of one network: k = 1 is least squares,
k = 6 has a head for each code. Trained on 24,000 clips of the training digits, for a number of
steps that takes about ten minutes of one core; tested on 1,000 clips of the test digits.

**branches**: a soft spot moves, and in the next frame turns by 60° to one side or the other, both
alike often. **bouncing**: digits bounce off walls at random. **video**: the real videos of
LOWLAND_DATA/videos, lightness at 48×64 pixels; the first 80 % of each to train on, the rest to
test.

What is told, over the test clips:

- PSNR, the mean over clips, of the prediction (k = 1) or of the best of k; the more heads, the
  better the best one is even if they knew nothing, so that the next figures are the fair ones;
- coverage: for how many of the possible futures a head comes nearer than half way to the closest
  other future; the mean of two futures covers neither;
- sharpness: the mean square of the Laplacian, in units of that of real frames;
- true < average: how often F_1 of the true next frame is below F_1 of the mean of the futures;
- codes alive: those that are the best code of more than a hundredth of the clips;
- SSIM of the best prediction, by scikit-image, for bouncing and video.

The bfloat16 convolutions are used where a probe of a few steps finds them faster. With --slice, a
run stops after so many steps and goes on at the next call, exactly; the CPU time adds up.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import functools
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import lowland as ll
from lowland.data import Dataset, Futures, bouncing_digits, turning_digits

ROOT = Path(os.environ.get("LOWLAND_DATA", "../shared/data"))
RATE, BATCH, ANNEAL = 3e-3, 32, 2000
STEPS = {"turning": 12_000, "branches": 3_000, "bouncing": 6_000, "video": 2_000}


def digits(split: str) -> Tensor:
    """MNIST digits at half size, `(m, 1, 14, 14)`; scikit-learn's where there is no MNIST."""
    path = ROOT / "mnist" / "mnist.npz"
    if not path.exists():
        y = ll.data.digits().y
        return y[:1400] if split == "train" else y[1400:]
    with np.load(path) as held:
        images = torch.from_numpy(held[f"x_{split}"]).unsqueeze(1).float() / 255
    return torch.nn.functional.avg_pool2d(images, 2)


def spot() -> Tensor:
    """One soft spot, `(1, 1, 9, 9)`."""
    away = torch.linspace(-2, 2, 9).square()
    return torch.exp(-(away.unsqueeze(0) + away.unsqueeze(1)) / 2).reshape(1, 1, 9, 9)


def clips_of(workload: str, split: str) -> Futures:
    """Clips of moving shapes."""
    generator = torch.Generator().manual_seed({"train": 1, "test": 2}[split])
    n = 24_000 if split == "train" else 1_000
    if workload == "bouncing":
        return bouncing_digits(digits(split), n, generator=generator)
    if workload == "branches":
        options = {"turns": (60.0, -60.0), "weights": (1.0, 1.0), "size": 24, "speed": 4.0}
        return turning_digits(spot(), n // 3, generator=generator, **options)
    return turning_digits(digits(split), n, generator=generator)


def faster_in_bfloat16(energy: ll.energies.NextFrame, y: Tensor, x: Tensor) -> bool:
    """Whether a few steps take less time with it."""
    seconds = {False: math.inf, True: math.inf}
    energy.train()
    for _ in range(4):
        for fast in seconds:
            energy.mixed_precision = fast
            began = time.process_time()
            energy.tabulate(y, x=x).sum().backward()
            seconds[fast] = min(seconds[fast], time.process_time() - began)
    energy.zero_grad()
    return seconds[True] < seconds[False]


def trained(
    data: Dataset, k: int, steps: int, until: int, folder: Path
) -> tuple[ll.energies.NextFrame, ll.Fit, float]:
    """An energy after so many steps of a run in a folder, what happened, and its CPU seconds."""
    generator = torch.Generator().manual_seed(0)
    energy = ll.energies.NextFrame.from_data(data.y, x=data.x, k=k, generator=generator)
    notes = folder / "notes.json"
    earlier = json.loads(notes.read_text()) if notes.exists() else {"seconds": 0.0}
    if "bfloat16" not in earlier:
        earlier["bfloat16"] = faster_in_bfloat16(energy, data.y[:BATCH], data.x[:BATCH])
    energy.mixed_precision = earlier["bfloat16"]
    made: list[torch.optim.Optimizer] = []

    def optimizer(parameters: object) -> torch.optim.Optimizer:
        made.append(torch.optim.Adam(parameters, lr=RATE))
        return made[0]

    def cool(record: object) -> None:
        # A cosine from the rate to nothing; training is done when it is.
        made[0].param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * record.step / steps)) / 2

    began = time.process_time()
    result = ll.fit(
        energy,
        data,
        ll.FreeEnergyDescent(anneal=min(ANNEAL, steps // 3)),
        steps=until,
        batch_size=BATCH,
        optimizer=optimizer,
        generator=generator,
        callbacks=[cool],
        checkpoint=folder,
        resume=notes.exists(),
        progress=False,
    )
    earlier["seconds"] += time.process_time() - began
    earlier["reseeded"] = earlier.get("reseeded", 0) + result.reseeded
    earlier["steps"] = result.steps
    notes.write_text(json.dumps(earlier))
    return energy, result, earlier["seconds"]


def sharpness(frames: Tensor) -> float:
    """The mean square of the Laplacian."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).reshape(1, 1, 3, 3)
    flat = frames.reshape(-1, 1, *frames.shape[-2:])
    return float(torch.nn.functional.conv2d(flat, kernel).square().mean())


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Of each pair of frames, in decibels of a range of 1."""
    return -10 * (a - b).square().flatten(-3).mean(-1).log10()


def ssim(a: Tensor, b: Tensor) -> float:
    """The mean structural similarity of pairs of one-channel frames, by scikit-image."""
    from skimage.metrics import structural_similarity

    pairs = zip(a[:, 0].numpy(), b[:, 0].numpy(), strict=True)
    return float(np.mean([structural_similarity(p, q, data_range=1.0) for p, q in pairs]))


@torch.no_grad()
def judged(
    energy: ll.energies.NextFrame, x: Tensor, y: Tensor, clips: Futures | None
) -> dict[str, float]:
    """The figures of an energy on test clips."""
    parts = [energy.futures(part) for part in x.split(256)]
    frames, mass = torch.cat([p.y for p in parts]), torch.cat([p.log_mass for p in parts])
    each = psnr(frames, y.unsqueeze(1))
    best = frames[torch.arange(len(y)), each.argmax(1)]
    likely = frames[torch.arange(len(y)), mass.argmax(1)]
    told = {
        "PSNR of the best": float(each.amax(1).mean()),
        "PSNR of the likeliest": float(psnr(likely, y).mean()),
        "PSNR of the last frame": float(psnr(x[:, -1], y).mean()),
        "error of the best": float((best - y).square().mean()),
        "sharpness": sharpness(likely) / sharpness(y),
        "SSIM of the best": ssim(best, y),
        "SSIM of the likeliest": ssim(likely, y),
    }
    codes = torch.cat(
        [energy.tabulate(b, x=a).argmin(1) for a, b in zip(x.split(256), y.split(256), strict=True)]
    )
    told["codes alive"] = float((codes.bincount(minlength=energy.k) > len(y) / 100).sum())
    if clips is None:
        return told
    average = clips.mean()
    told["PSNR of the oracle mean"] = float(psnr(average, y).mean())
    told["sharpness of the oracle mean"] = sharpness(average) / sharpness(y)
    free = functools.partial(ll.free_energy, energy, x=x, beta=1.0)
    told["true < average"] = float((free(y) < free(average)).float().mean())
    told["F_1 of the truth"] = float(free(y).mean())
    told["F_1 of the average"] = float(free(average).mean())
    possible = clips.weights > 0
    told |= covered(frames, clips.futures, possible)
    told |= weighed(energy, clips, possible)
    return told


def covered(frames: Tensor, futures: Tensor, possible: Tensor) -> dict[str, float]:
    """Coverage of futures `(n, m, ...)` by frames `(n, k, ...)`, where there are several."""
    apart = (futures.unsqueeze(2) - futures.unsqueeze(1)).square().flatten(3).sum(3)
    itself = torch.eye(futures.shape[1], dtype=torch.bool)
    other = apart.masked_fill(itself | ~possible.unsqueeze(1), math.inf).amin(2)
    away = (frames.unsqueeze(2) - futures.unsqueeze(1)).square().flatten(3).sum(3).amin(1)
    several = possible.sum(1) > 1
    hit = (away < other / 4) & possible
    return {"coverage": float(hit[several].sum() / possible[several].sum())}


def weighed(energy: ll.energies.NextFrame, clips: Futures, possible: Tensor) -> dict[str, float]:
    """How far the weights of the predictions lie from the true shares of the futures."""
    n = 200
    found = ll.predict(energy, clips.x[:n], n=energy.k)
    answers = torch.nan_to_num(found.y)
    away = (answers.unsqueeze(2) - clips.futures[:n].unsqueeze(1)).square().flatten(3).sum(3)
    nearest = away.masked_fill(~possible[:n].unsqueeze(1), math.inf).argmin(2)
    given = torch.zeros(n, possible.shape[1]).scatter_add(1, nearest, found.weight)
    shares = clips.weights[:n]
    several = possible[:n].sum(1) > 1
    return {
        "weight of a future, mean error": float((given - shares)[several].abs().mean()),
        "weight of the first future": float(given[several, 0].mean()),
    }


def video(name: str) -> tuple[Dataset, Dataset]:
    """Clips of a real video to train on, and later ones to test."""
    size = (48, 64)
    data = ll.data.read(ROOT / "videos" / name, past=3, size=size, gray=True)
    cut = int(0.8 * len(data))
    return data[:cut], data[cut + 4 :]


def say(title: str, told: dict[str, float]) -> None:
    """A block of figures."""
    print(f"\n{title}")
    for name, value in told.items():
        print(f"  {name:<32} {value:.4g}")


def met(holds: bool) -> str:
    """One word."""
    return "met" if holds else "MISSED"


def verdicts(workload: str, plain: dict[str, float], latent: dict[str, float]) -> None:
    """Targets, each with whether it is met."""
    if workload == "turning":
        gap = plain["PSNR of the oracle mean"] - plain["PSNR of the best"]
        rows = [
            ("least squares: below the oracle mean by (dB)", gap, "≤ 1", gap <= 1),
            ("least squares: sharpness", plain["sharpness"], "< .2", plain["sharpness"] < 0.2),
            ("least squares: true < average", plain["true < average"], "< .05",
             plain["true < average"] < 0.05),
            ("latent: PSNR of the best", latent["PSNR of the best"], "≥ 29",
             latent["PSNR of the best"] >= 29),
            ("latent: coverage", latent["coverage"], "≥ .97", latent["coverage"] >= 0.97),
            ("latent: true < average", latent["true < average"], "≥ .98",
             latent["true < average"] >= 0.98),
        ]  # fmt: skip
    elif workload == "branches":
        ratio = latent["error of the best"] / plain["error of the best"]
        first = latent["weight of the first future"]
        rows = [
            ("error of the best over least squares'", ratio, "< .01", ratio < 0.01),
            ("weight of the first future", first, "within .05 of .5", abs(first - 0.5) <= 0.05),
        ]
    else:
        gain = latent["PSNR of the likeliest"] - plain["PSNR of the best"]
        print(f"\nthe likeliest future is {gain:+.2f} dB from least squares")
        return
    print()
    for name, value, target, holds in rows:
        print(f"{name}: {value:.3g}, target {target}: {met(holds)}")


def main() -> None:
    """Train what is asked for, as far as asked, and tell the figures of what is done."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=list(STEPS))
    parser.add_argument("--k", type=int, help="only this many heads")
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--slice", type=int, help="steps to make in this call")
    parser.add_argument("--runs", type=Path, default=Path("runs/next_frame"))
    order = parser.parse_args()
    torch.set_num_threads(1)
    steps = order.steps or STEPS[order.workload]
    names = ("car-detection.mp4", "one-by-one-person-detection.mp4")
    for name in names if order.workload == "video" else (order.workload,):
        clips = None
        if order.workload == "video":
            train, test = video(name)
        else:
            train, clips = clips_of(name, "train").dataset(), clips_of(name, "test")
            test = clips.dataset()
        told = {}
        for k in (order.k,) if order.k else (1, order.heads):
            folder = order.runs / f"{name}-{k}"
            notes = folder / "notes.json"
            done = json.loads(notes.read_text())["steps"] if notes.exists() else 0
            until = min(steps, done + order.slice) if order.slice else steps
            energy, result, seconds = trained(train, k, steps, until, folder)
            told[k] = judged(energy, test.x, test.y, clips)
            shares = [round(share, 3) for share in result.state["shares"].tolist()]
            say(
                f"{name}, k = {k}, {result.steps} of {steps} steps, {seconds:.0f} CPU seconds, "
                f"bfloat16 {energy.mixed_precision}, σ {energy.noise:.3g}, shares {shares}, "
                f"{result.reseeded} reseeded",
                told[k],
            )
        if len(told) == 2:
            verdicts(order.workload, told[1], told[order.heads])


if __name__ == "__main__":
    main()
