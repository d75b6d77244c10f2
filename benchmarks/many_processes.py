"""K-means in two processes against one: the same centres, the time, and the bytes sent.

The rows are split unequally. Each process makes the same sweeps; sums are added up by gloo, which
takes a message of sums, counts and a few numbers a sweep, whatever the number of rows. Of a million
items in float32 a few lie nearer to the border of two wells than rounding, so the centres agree
only if no item's scores depend on its neighbours, nor the sums on their order.

Run: python benchmarks/many_processes.py [--rows 1000000] [--processes 2]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed
from _measure import one_thread, verdict

import lowland as ll
from lowland.train.architectural.shards import Sums, all_reduce

COLUMNS, K, SWEEPS = 32, 256, 10
# In float64, which is slower, on fewer rows.
EXACT_ROWS = 100_000
# The part of the rows that process 0 holds of its equal share.
UNEQUAL = 0.8


def rows(n: int) -> torch.Tensor:
    """Items of overlapping Gaussians, the same in every process."""
    centres = 1.2 * torch.randn(K + K // 5, COLUMNS, generator=torch.Generator().manual_seed(0))
    z = torch.randint(len(centres), (n,), generator=torch.Generator().manual_seed(1))
    return torch.randn(n, COLUMNS, generator=torch.Generator().manual_seed(2)).add_(centres[z])


def share(n: int, rank: int, world: int) -> slice:
    """The rows of one process."""
    first = int(UNEQUAL * n / world) if world > 1 else n
    if rank == 0:
        return slice(0, first)
    each = (n - first) // (world - 1)
    end = n if rank == world - 1 else first + rank * each
    return slice(first + (rank - 1) * each, end)


def worker(n: int, result: Path) -> None:
    """Fit this process's shard and write what was found."""
    one_thread()
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if world > 1:
        torch.distributed.init_process_group("gloo")
    y = rows(n)
    start = y[:K].clone()
    sent = messages = 0

    def counting(sums: Sums) -> Sums:
        nonlocal sent, messages
        sent += sum(8 * value.numel() for value in sums.values())
        messages += 1
        return all_reduce(sums)

    energy = ll.energies.KMeans(start)
    shard = y[share(n, rank, world)].clone()
    if world > 1:
        torch.distributed.barrier()
    began, cpu = time.perf_counter(), time.process_time()
    strategy = ll.CoordinateDescent(reduce=counting)
    fit = ll.fit(energy, shard, strategy, steps=SWEEPS, progress=False)
    seconds, busy = time.perf_counter() - began, time.process_time() - cpu
    if rank == 0:
        mean = fit.history.data_energy[-1]
        found = {
            "seconds": seconds,
            "cpu": busy,
            "sent": sent / fit.steps,
            "messages": messages,
            "energy": mean,
        }
        (result / f"{world}.json").write_text(json.dumps(found))
        torch.save(energy.prototypes.data, result / f"{world}-float32.pt")
    precise = ll.energies.KMeans(start.double())
    some = y[share(EXACT_ROWS, rank, world)].double()
    ll.fit(precise, some, ll.CoordinateDescent(), steps=SWEEPS, progress=False)
    if rank == 0:
        torch.save(precise.prototypes.data, result / f"{world}-float64.pt")
    if world > 1:
        torch.distributed.destroy_process_group()


def main() -> None:
    """Run with one process and with several, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--result", type=Path, help="for the workers: where to write")
    chosen = parser.parse_args()
    if chosen.result is not None:
        worker(chosen.rows, chosen.result)
        return
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    with tempfile.TemporaryDirectory() as folder:
        task = [__file__, "--rows", str(chosen.rows), "--result", folder]
        runs = {}
        for world in (1, chosen.processes):
            command = [sys.executable] if world == 1 else [*launch, f"--nproc-per-node={world}"]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            subprocess.run([*command, *task], check=True, env=environment)
            runs[world] = json.loads((Path(folder) / f"{world}.json").read_text())
        apart = {}
        for dtype in ("float32", "float64"):
            one, many = (torch.load(Path(folder) / f"{world}-{dtype}.pt") for world in runs)
            apart[dtype] = float((one - many).abs().max())
    n, world = chosen.rows, chosen.processes
    print(f"{n:,} × {COLUMNS}, k = {K}, {SWEEPS} sweeps, {world} unequal shards, gloo")
    for number, run in runs.items():
        print(f"  {number} process(es): {run['seconds']:.2f} s, process 0 {run['cpu']:.2f} CPU s")
    print(f"  time / one process {runs[world]['seconds'] / runs[1]['seconds']:.2f}")
    print(f"  {runs[world]['sent'] / 1024:.1f} KiB sent a sweep by each process")
    energies = abs(runs[world]["energy"] / runs[1]["energy"] - 1)
    print("  " + verdict("relative difference of the energies, float32", energies, 1e-5))
    for (dtype, largest), many in zip(apart.items(), (n, EXACT_ROWS), strict=True):
        name = f"largest difference of a centre, {dtype}, {many:,} rows"
        print("  " + verdict(name, largest, 1e-5))


if __name__ == "__main__":
    main()
