"""`lowland fit --stream`: rows read block by block, kept and asked like those of any other run."""

import json

import numpy as np
import pytest
import torch

import lowland as ll

FIT = "fit rows.npy --stream --energy kmeans --set k=5 --out run"


def write(n: int = 1000, bad: int | None = None) -> np.ndarray:
    random = np.random.default_rng(0)
    wells = 5 * random.standard_normal((5, 3))
    rows = (wells[random.integers(5, size=n)] + random.standard_normal((n, 3))).astype(np.float32)
    if bad is not None:
        rows[bad, 1] = np.nan
    np.save("rows.npy", rows)
    return rows


def test_a_stream_ends_where_the_file_read_at_once_does(run, folder):
    write()
    assert run(FIT).exit_code == 0
    assert run(FIT.replace("--stream", "--held-out 0").replace("run", "whole")).exit_code == 0
    streamed, whole = (ll.load(folder / name) for name in ("run", "whole"))
    torch.testing.assert_close(streamed.energy.prototypes, whole.energy.prototypes)


def test_a_stream_longer_than_what_is_read_at_once(run, folder, monkeypatch):
    monkeypatch.setattr("lowland.cli._streaming.FIRST_ROWS", 300)
    write()
    result = run(FIT)
    assert result.exit_code == 0, result.output
    assert "a stream of 1,000 rows, nothing held out" in result.output
    assert "on the first 300 rows" in result.output
    shown = run("show run")
    assert shown.exit_code == 0, shown.output
    assert "a stream of 1,000 rows" in shown.output
    about = json.loads((folder / "run/run.json").read_text())
    assert (about["data"]["n"], about["result"]["rows"]) == (300, 1000)


def test_a_streamed_run_is_asked_and_resumed_like_any_other(run, folder):
    write()
    assert run(FIT + " --steps 2").exit_code == 0
    assert run(FIT + " --steps 4 --resume").exit_code == 0
    resumed = ll.load(folder / "run").state_dict()
    assert run(FIT.replace("run", "once") + " --steps 4").exit_code == 0
    once = ll.load(folder / "once").state_dict()
    assert all(torch.equal(value, once[name]) for name, value in resumed.items())
    asked = run("ask run score")
    assert asked.exit_code == 0, asked.output


def test_a_bad_row_is_named_and_the_run_is_kept(run, folder, monkeypatch):
    monkeypatch.setattr("lowland.cli._streaming.FIRST_ROWS", 300)
    write(bad=777)
    result = run(FIT)
    assert result.exit_code != 0
    assert "row 777" in result.output
    assert "Traceback" not in result.output
    assert torch.isfinite(ll.load(folder / "run").energy.prototypes).all()


@pytest.mark.parametrize(
    ("option", "word"),
    [("--held-out 10", "--held-out"), ("--given 0", "--given"), ("--label a", "--label")],
)
def test_what_needs_all_the_data_is_refused(run, folder, option, word):
    write(50)
    result = run(f"{FIT} {option}")
    assert result.exit_code != 0
    assert word in result.output


@pytest.mark.parametrize("source", ["digits", "rows.csv"])
def test_only_files_of_rows_are_streamed(run, folder, source):
    result = run(FIT.replace("rows.npy", source))
    assert result.exit_code != 0
    assert "cannot be streamed" in result.output
