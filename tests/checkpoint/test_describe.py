import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lowland as ll

P = torch.tensor([[0.0, 1.0], [2.0, 3.0]])


def described(name: str, **arguments: Any) -> dict[str, Any]:
    return {"energy": f"lowland.{name}", "arguments": arguments}


TENSOR = {"tensor": "prototypes"}
KMEANS = described("energies.KMeans", prototypes=TENSOR)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    ll.save(ll.energies.KMeans(P), tmp_path / "run")
    return tmp_path / "run"


def edit(run: Path, **changes: Any) -> None:
    path = run / "energy.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refused(run: Any, says: str) -> None:
    with pytest.raises(ll.CheckpointError, match=says):
        ll.load(run)


# The description.


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("description", "says"),
    [
        (5, "not an energy"),
        (None, "not an energy"),
        ([], "not known"),
        ({}, "not known"),
        ({"eval": "1+1"}, "not known"),
        ({"float": "abc"}, "abc"),
        ({"list": 5}, "not known"),
        ({"tensor": "nope"}, "'nope' that it does not hold"),
        ({"tensor": "prototypes"}, "not an energy"),
        ({"energy": "os.system", "arguments": {}}, r"os\.system, which is not defined here"),
        ({"energy": "builtins.eval", "arguments": {}}, "not defined here"),
        (described("energies.KMeans"), "KMeans cannot be built"),
        (described("energies.KMeans", prototypes=3), "KMeans cannot be"),
        (described("energies.KMeans", k=3), "KMeans cannot be built"),
        (described("energies.KMeans", prototypes=TENSOR, extra=1), "KMeans cannot be built"),
        (described("Tempered", energy=KMEANS, temperature=-1), "'temperature'"),
        (described("Tempered", energy=KMEANS, temperature={"float": "nan"}), "'temperature'"),
        (described("Tempered", energy=None, temperature=1.0), "Tempered cannot be"),
        (described("Scaled", energy=5, scaling=6), "Scaled cannot be"),
        (described("Sum", terms={"list": []}), "Sum cannot be built"),
        (described("FreeEnergy", energy=TENSOR), "FreeEnergy cannot"),
        ({"scaling": {"shift": 1, "scale": 2}}, "Scaling cannot be built"),
        ({"latent": "Evil", "arguments": {}}, "latent 'Evil' not known"),
        ({"latent": "OneHot", "arguments": {"k": 0}}, "OneHot cannot be built"),
        ({"domain": "Evil", "arguments": {}}, "domain 'Evil' not known"),
        ({"module": "Evil", "arguments": {}}, r"'Evil' that torch\.nn does not have"),
        ({"module": "functional", "arguments": {}}, r"torch\.nn does not have"),
        ({"module": "__class__", "arguments": {}}, r"torch\.nn does not have"),
        ({"module": "Parameter", "arguments": {}}, r"torch\.nn does not have"),
        ({"module": "Sequential", "children": [5]}, "Sequential"),
        (
            {"module": "Linear", "arguments": {"in_features": -1, "out_features": 2}},
            "Linear cannot be built",
        ),
        ({"module": "Linear", "arguments": {}}, "Linear cannot be built"),
        (described("energies.Ring"), "not expected"),
    ],
)
def test_a_description_that_does_not_describe(run: Path, description: Any, says: str) -> None:
    edit(run, energy=description)
    refused(run, says)


@pytest.mark.parametrize("wrap", [lambda d: {"list": [d]}, lambda d: {"map": {"a": d}}])
def test_a_description_nested_without_end(run: Path, wrap: Callable[[Any], Any]) -> None:
    text, depth = json.dumps(wrap("@")), 460
    nested = '"@"'
    for _ in range(depth):
        nested = text.replace('"@"', nested)
    path = run / "energy.json"
    manifest = json.loads(path.read_text())
    manifest["energy"] = "@"
    path.write_text(json.dumps(manifest).replace('"@"', nested))
    refused(run, "JSON|nested|not an energy")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["lowland.energies.KMeans", "lowland.Sum", "Linear", "OneHot", "prototypes"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "energy",
                    "arguments",
                    "list",
                    "map",
                    "tensor",
                    "module",
                    "children",
                    "latent",
                    "scaling",
                    "shift",
                    "scale",
                    "float",
                    "domain",
                    "opaque",
                    "terms",
                    "prototypes",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@pytest.mark.wrong_types
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(description=json_values)
def test_any_description_is_an_energy_or_a_checkpoint_error(run: Path, description: Any) -> None:
    edit(run, energy=description)
    with pytest.raises(ll.CheckpointError):
        ll.load(run)
