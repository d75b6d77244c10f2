import ast
import hashlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

import lowland as ll

P = torch.tensor([[0.0, 1.0], [2.0, 3.0]])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    ll.save(ll.energies.KMeans(P), tmp_path / "run")
    return tmp_path / "run"


def edit(run: Path, **changes: Any) -> None:
    path = run / "energy.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def with_payload(run: Path, content: bytes) -> None:
    """Other tensors under a manifest that vouches for them."""
    digest = hashlib.sha256(content).hexdigest()
    (run / f"energy-{digest[:16]}.safetensors").write_bytes(content)
    edit(run, tensors={"file": f"energy-{digest[:16]}.safetensors", "sha256": digest})


def payload(run: Path) -> Path:
    (path,) = run.glob("*.safetensors")
    return path


def refused(run: Any, says: str) -> None:
    with pytest.raises(ll.CheckpointError, match=says):
        ll.load(run)


# Folders.


def test_a_missing_folder(tmp_path: Path) -> None:
    refused(tmp_path / "no", "does not exist")


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "energy").write_text("{}")
    refused(tmp_path / "energy", "is a file. A checkpoint is a folder")
    refused(tmp_path / "energy" / "below", "does not exist")


def test_an_empty_folder(tmp_path: Path) -> None:
    refused(tmp_path, r"holds no energy\.json")


def test_a_manifest_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "energy.json").mkdir()
    refused(tmp_path, r"holds no energy\.json")


def test_a_path_longer_than_the_system_allows() -> None:
    refused("a" * 5000, "a")
    with pytest.raises(ll.CheckpointError, match="cannot be written"):
        ll.save(ll.energies.Ring(), "a" * 5000)


def test_relative_and_dotted_paths(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run)
    for path in (".", "../run", str(run) + "/", run / ".." / "run"):
        assert torch.equal(ll.load(path).prototypes, P)


# The manifest.


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON, or was cut short"),
        ("{", "not JSON, or was cut short"),
        ("not json", "not JSON, or was cut short"),
        ("{}", "foreign"),
        ("[]", "foreign"),
        ("null", "foreign"),
        ('{"format": "lowland-training"}', "foreign.*lowland-training"),
        ('{"format": ["lowland-energy"]}', "foreign"),
        ("[" * 100_000, "JSON"),
        ('{"a":' * 100_000, "JSON"),
        ('{"format": ' + "1" * 5000 + "}", "JSON"),
    ],
)
def test_a_manifest_that_is_none(run: Path, text: str, says: str) -> None:
    (run / "energy.json").write_text(text)
    refused(run, says)


def test_a_manifest_that_is_not_text(run: Path) -> None:
    (run / "energy.json").write_bytes(b"\xff\xfe\x00\x01")
    refused(run, "not JSON, or was cut short")


def test_a_manifest_cut_anywhere(run: Path) -> None:
    text = (run / "energy.json").read_text()
    for length in range(0, len(text) - 1, 7):
        (run / "energy.json").write_text(text[:length])
        refused(run, "not JSON, or was cut short")


@pytest.mark.parametrize("version", [0, 2, "1", None, 1e99])
def test_another_version_of_the_format(run: Path, version: Any) -> None:
    edit(run, format_version=version)
    refused(run, r"format version .*reads version 1.*Install")


@pytest.mark.parametrize("entry", [None, 5, {}, [], {"file": 5}, {"file": None}])
def test_a_manifest_that_names_no_tensors(run: Path, entry: Any) -> None:
    edit(run, tensors=entry)
    refused(run, "does not say which file")


@pytest.mark.parametrize(
    "name",
    ["../x", "../run/../secret", "", ".", "..", "/etc/passwd", "no\0pe", "\ud800", "a" * 5000],
)
def test_tensors_outside_the_folder(run: Path, name: str) -> None:
    secret = run.parent / "secret"
    secret.write_bytes(to_bytes({"prototypes": P}))
    edit(run, tensors={"file": name, "sha256": hashlib.sha256(secret.read_bytes()).hexdigest()})
    refused(run, "missing|too long")


def test_a_neighbours_tensors_are_not_read(run: Path) -> None:
    ll.save(ll.energies.KMeans(P + 1), run.parent / "other")
    entry = json.loads((run.parent / "other" / "energy.json").read_text())["tensors"]
    edit(run, tensors={**entry, "file": f"../other/{entry['file']}"})
    refused(run, "missing")


# The tensors.


def test_missing_tensors(run: Path) -> None:
    payload(run).unlink()
    refused(run, "tensors of .* are missing")


def test_truncated_tensors(run: Path) -> None:
    path = payload(run)
    content = path.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused(run, "truncated or altered")


def test_one_flipped_bit_anywhere(run: Path) -> None:
    path = payload(run)
    content = path.read_bytes()
    for index in range(0, len(content), 5):
        path.write_bytes(content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :])
        refused(run, "truncated or altered")


def test_tensors_of_another_energy_under_this_ones_name(run: Path) -> None:
    ll.save(ll.energies.KMeans(P + 1), run.parent / "other")
    payload(run).write_bytes(payload(run.parent / "other").read_bytes())
    refused(run, "truncated or altered")


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({}, "does not hold"),
        ({"weight": P}, "does not hold"),
        ({"prototypes": P, "extra": P + 1}, r"not expected \['extra'\]"),
        ({"prototypes": P * torch.nan}, "NaN"),
        ({"prototypes": P / 0}, "NaN or infinite"),
        ({"prototypes": P[0]}, "KMeans cannot be built"),
        ({"prototypes": P[:0]}, "KMeans cannot be built"),
        ({"prototypes": P.long()}, "prototypes|KMeans cannot be built"),
        ({"prototypes": P.bool()}, "prototypes|KMeans cannot be built"),
        ({"prototypes": P.to(torch.float8_e4m3fn)}, "prototypes|KMeans"),
    ],
    ids=["none", "another", "more", "nan", "inf", "one axis", "empty", "int", "bool", "float8"],
)
def test_tensors_that_do_not_fit(run: Path, tensors: dict[str, Tensor], says: str) -> None:
    with_payload(run, to_bytes({key: value.contiguous() for key, value in tensors.items()}))
    refused(run, says)


def test_wrong_shapes_inside_a_network(tmp_path: Path) -> None:
    ll.save(ll.energies.Network.from_data(P, hidden=(3,)), tmp_path)
    with_payload(
        tmp_path,
        to_bytes(
            {
                "net.1.weight": P,
                "net.1.bias": P[0].clone(),
                "net.3.weight": P[:1].clone(),
                "net.3.bias": P[0, :1].clone(),
            }
        ),
    )
    refused(tmp_path, r"'net\.1\.weight' should have shape \(3, 2\), got \(2, 2\)")


@pytest.mark.parametrize(
    "header",
    [
        b"junk",
        b"{}",
        b'{"prototypes":{"dtype":"F99","shape":[2,2],"data_offsets":[0,16]}}',
        b'{"prototypes":{"dtype":"F4","shape":[2,16],"data_offsets":[0,16]}}',
        b'{"prototypes":{"dtype":"F32","shape":[999999,2],"data_offsets":[0,16]}}',
        b'{"prototypes":{"dtype":"F32","shape":[2,2],"data_offsets":[0,999]}}',
    ],
)
def test_a_foreign_tensor_file_that_the_manifest_vouches_for(run: Path, header: bytes) -> None:
    with_payload(run, len(header).to_bytes(8, "little") + header + bytes(16))
    refused(run, "safetensors|does not hold")


# Writing.


@pytest.mark.parametrize("where", ["file/below", "/proc/nope", "file"])
def test_where_nothing_can_be_written(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ll.CheckpointError, match=r"cannot be written.*Choose a folder"):
        ll.save(ll.energies.Ring(), tmp_path / where)
    assert (tmp_path / "file").read_text() == "mine"


def test_training_does_not_start_where_nothing_can_be_written() -> None:
    energy = ll.energies.KMeans(P)
    with pytest.raises(ll.CheckpointError, match="cannot be written"):
        ll.fit(energy, P + 5, ll.CoordinateDescent(), steps=3, checkpoint="/proc/nope")
    assert torch.equal(energy.prototypes, P)


class Crash(BaseException):
    """The machine stops here."""


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("failure", [Crash, KeyboardInterrupt])
def test_a_crash_between_any_two_writes_keeps_the_old_checkpoint(
    call: int, failure: type[BaseException], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0
    replace = os.replace

    def crashing(source: Any, target: Any) -> None:
        nonlocal made
        made += 1
        if made == call:
            raise failure
        replace(source, target)

    monkeypatch.setattr(os, "replace", crashing)
    with pytest.raises(failure):
        ll.save(ll.energies.KMeans(P + 1), run)
    monkeypatch.undo()
    assert torch.equal(ll.load(run).prototypes, P)
    ll.save(ll.energies.KMeans(P + 2), run)
    assert torch.equal(ll.load(run).prototypes, P + 2)
    assert len(list(run.iterdir())) == 2


def test_a_full_disk_keeps_the_old_checkpoint(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ll.CheckpointError, match="No space left on device"):
        ll.save(ll.energies.KMeans(P + 1), run)
    monkeypatch.undo()
    assert torch.equal(ll.load(run).prototypes, P)
    assert len(list(run.iterdir())) == 2


def test_a_failed_removal_of_old_tensors_keeps_the_new_checkpoint(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(path: Path, missing_ok: bool = False) -> None:
        raise Crash

    monkeypatch.setattr(Path, "unlink", busy)
    with pytest.raises(Crash):
        ll.save(ll.energies.KMeans(P + 1), run)
    monkeypatch.undo()
    assert torch.equal(ll.load(run).prototypes, P + 1)


def test_overwriting_leaves_one_file_of_tensors(run: Path) -> None:
    for i in range(4):
        ll.save(ll.energies.KMeans(P + i), run)
    assert sorted(path.suffix for path in run.iterdir()) == [".json", ".safetensors"]
    assert torch.equal(ll.load(run).prototypes, P + 3)


def test_saving_the_same_again_changes_nothing(run: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    ll.save(ll.energies.KMeans(P), run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_files_of_others_in_the_folder_stay(run: Path) -> None:
    (run / "notes.txt").write_text("mine")
    (run / "energy-final.safetensors").write_text("mine")
    ll.save(ll.energies.KMeans(P + 1), run)
    assert (run / "notes.txt").read_text() == "mine"
    assert (run / "energy-final.safetensors").read_text() == "mine"


def test_files_are_readable_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        ll.save(ll.energies.KMeans(P), tmp_path)
    finally:
        os.umask(before)
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {"0o644"}


def test_no_pickle_anywhere(run: Path) -> None:
    ll.fit(ll.energies.KMeans(P), P, ll.GradientDescent(), steps=2, checkpoint=run)
    assert {path.suffix for path in run.iterdir()} == {".json", ".safetensors"}
    spec = importlib.util.find_spec("lowland")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package = Path(next(iter(spec.submodule_search_locations)))
    for path in [*package.glob("train/**/*.py"), *package.glob("checkpoint/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                imported = {alias.name for alias in node.names} | {getattr(node, "module", "")}
                assert not imported & {"pickle", "marshal", "shelve", "dill", "importlib"}
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("torch", "load"), ("torch", "save")}
            if isinstance(node, ast.Name):
                assert node.id not in {"eval", "exec", "__import__", "compile"}
