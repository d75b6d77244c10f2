"""Bad input, each with its exit code and one line that says what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture
def people(folder: Path) -> pd.DataFrame:
    frame = pd.DataFrame(
        {"age": [31.0, 47, 22, 60], "income": [1.0, 4, 2, 6], "city": ["Rome", "Oslo"] * 2}
    )
    frame.to_csv(folder / "people.csv", index=False)
    frame.assign(age=[1.0, None, 2, 3]).to_csv(folder / "gaps.csv", index=False)
    frame.assign(income=5.0).to_csv(folder / "constant.csv", index=False)
    (folder / "fake.npz").write_text("not an archive")
    (folder / "odd.toml").write_text("[fit]\nenergy = 'kmeans'\nspeed = 3\n")
    (folder / "broken.toml").write_text("[fit\n")
    return frame


FIT = "--energy kmeans --set k=2 --out runs/x"


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"fit missing.csv {FIT}", "There is no file or folder missing.csv"),
        (f"fit people.csv {FIT}", "Column 'city' is not numeric"),
        (f"fit gaps.csv --label city {FIT}", "missing value at row 1, column 'age'"),
        (f"fit constant.csv --label city {FIT}", "constant column(s): income"),
        (f"fit fake.npz {FIT}", "is not what its name says"),
        (f"fit toy:spirl {FIT}", "There is no toy 'spirl'"),
        (f"fit people.csv --columns age,weight {FIT}", "weight"),
        (f"fit digits --columns a {FIT}", "does not take the option 'columns'"),
        (f"fit digits --size big {FIT}", "HEIGHTxWIDTH"),
        (f"fit digits --scaling log {FIT}", "'--scaling' must be one of auto"),
        (f"fit digits --given middle {FIT}", "'observed' must be one of"),
        (f"fit toy:horn --given left {FIT}", "have one already"),
        (f"fit digits --held-out 1797 {FIT}", "'held_out' must be"),
        (f"fit digits --steps 3 --epochs 3 {FIT}", "give one of --steps and --epochs"),
        (f"fit digits --batch-size 3 {FIT}", "leave --batch-size out"),
        (f"fit digits --learning-rate 0.1 {FIT}", "leave --learning-rate out"),
        ("fit digits --energy kmeans --set k=2000 --out x", "between 1 and the number of items"),
        ("fit digits --energy kmeans --set K=2 --out x", "It takes: k, start"),
        ("fit digits --energy kmeans --set k --out x", "takes name=value"),
        ("fit digits --energy kmeans --set k=2 --set k=3 --out x", "gives 'k' twice"),
        ("fit digits --energy kmeans --set k=[2 --out x", "cannot be read"),
        ("fit digits --energy autoencoder --set hidden=5 --out x", "cannot be built"),
        ("fit digits --energy k-means --out x", "Did you mean 'kmeans'?"),
        ("fit digits --energy nowhere:Energy --out x", "cannot be imported"),
        ("fit digits --energy math:pi --out x", "must be a subclass of lowland's Energy"),
        (f"fit digits --strategy denoise {FIT}", "Did you mean 'denoising'?"),
        (f"fit digits --strategy denoising {FIT}", "KMeans does not offer it"),
        (f"fit digits --strategy-set noise=1 {FIT}", "It takes: tolerance"),
        (
            "fit digits --energy network --strategy-set noise=loud --out x",
            "does not take {'noise': 'loud'}",
        ),
        ("fit digits --energy least-squares --out x", "--given left"),
        ("fit digits --energy kmeans --out people.csv/run", "cannot be written"),
        ("fit digits --energy kmeans --resume --out nothing", "There is no run at nothing"),
        ("fit --config odd.toml digits --out x", "does not take the option 'speed'"),
        ("fit --config broken.toml digits --out x", "is not TOML"),
        ("fit --config none.toml digits --out x", "cannot be read"),
        ("ask nothing score", "There is no run at nothing"),
        ("ask people.csv score", "There is no run at people.csv"),
        ("ask . wonder", "'wonder' is not a question"),
        ("show nothing", "There is no run at nothing"),
        ("show . --picture a.txt", "must end in one of .png"),
        ("show . --view surface", "give --picture FILE too"),
    ],
)
@pytest.mark.wrong_types
def test_bad_input_is_one_line_and_exit_code_2(run, folder, line, words):
    result = run(line)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
    assert not (folder / "runs").exists()
    assert not (folder / "x").exists()


def test_an_unknown_flag_is_refused_with_exit_code_2(run):
    assert run("fit digits --energy kmeans --out x --fast").exit_code == 2


def test_debug_shows_where_it_came_from(run):
    result = run("--debug fit missing.csv --energy kmeans --out x")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.rstrip().splitlines()[-1].startswith("error: ")


def test_a_damaged_run_says_so(run, folder):
    run("fit toy:moons?n=50 --energy kmeans --steps 1 --out run")
    (folder / "run" / "run.json").write_text('{"format": "lowland-r')
    result = run("ask run score")
    assert result.exit_code == 2
    assert "was cut short" in result.stderr


def test_as_a_process_it_does_the_same(folder):
    program = "from lowland.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "ask", "nothing", "score"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: There is no run at nothing")
    assert done.stdout == ""
