import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowland.cli._options import settings
from lowland.cli._text import sparkline

TOML = """
seed = 3

[fit]
source = "toy:moons?n=100"
energy = "kmeans"
out = "runs/moons"
steps = 2
held-out = 20
no-progress = true

[fit.set]
k = 4
start = "random"
"""


def test_a_file_says_everything_and_the_command_line_wins(run, folder):
    (folder / "run.toml").write_text(TOML)
    result = run("fit --config run.toml --epochs 3 --held-out 10")
    assert result.exit_code == 0, result.output
    about = json.loads((folder / "runs/moons/run.json").read_text())
    assert about["energy"]["options"] == {"k": 4, "start": "random"}
    assert (about["data"]["seed"], about["data"]["held_out"]) == (3, 10)
    assert (about["training"]["steps"], about["training"]["epochs"]) == (None, 3)


def test_a_file_may_leave_the_table_out_and_serve_ask(run, folder):
    (folder / "fit.toml").write_text('energy = "kmeans"\nset = ["k=3"]\nsteps = 1\n')
    assert run("fit toy:moons?n=60 --config fit.toml --out run").exit_code == 0
    (folder / "ask.toml").write_text('[ask]\nobserved = "y1"\nlimit = 2\nn = 2\n')
    result = run("ask run complete --config ask.toml")
    assert result.exit_code == 0, result.output
    assert "2 items" in result.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps = 2.5", "--steps"),
        ("[fit.energy]\nname = 'kmeans'", "must be one value"),
        ("set = 3", "must be a table of names and values"),
        ("fit = 3", "must be a table"),
    ],
)
def test_a_wrong_value_in_a_file_is_refused(run, folder, text, words):
    (folder / "run.toml").write_text(text)
    result = run("fit digits --energy kmeans --out run --config run.toml")
    assert result.exit_code == 2, result.output
    assert words in result.stderr


@given(
    st.dictionaries(
        st.sampled_from(["k", "hidden", "start", "noise"]),
        st.one_of(
            st.integers(-(2**40), 2**40),
            st.booleans(),
            st.floats(allow_nan=False, allow_infinity=False),
            st.text(st.characters(min_codepoint=32, max_codepoint=126)),
        ),
    )
)
def test_what_is_written_as_toml_is_read_back(values):
    written = [f"{name}={json.dumps(value)}" for name, value in values.items()]
    assert settings(written, "--set") == values


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200))
def test_a_sparkline_is_lowest_where_the_numbers_are(values):
    line = sparkline(values, width=200)
    assert len(line) == len(values)
    assert line[values.index(min(values))] == "▁"
    if max(values) > min(values):
        assert line[values.index(max(values))] == "█"
