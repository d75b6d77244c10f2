"""What the documents show is run: every block of Python, every command line, every link."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    path
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
    if path.is_file()
]
FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<info>.*)$")
LINK = re.compile(r"(?<!`)\[[^\]]*\]\((?P<target>[^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block of a document."""

    info: str
    text: str
    line: int


def blocks(document: str) -> Iterator[Block]:
    """The fenced blocks, each with the number of its first line."""
    opened: re.Match[str] | None = None
    start, held = 0, []
    for number, line in enumerate(document.splitlines(), 1):
        fence = FENCE.match(line)
        if opened is None:
            if fence:
                opened, start, held = fence, number + 1, []
        elif fence and fence["ticks"] == opened["ticks"] and not fence["info"].strip():
            yield Block(opened["info"].strip(), "\n".join(held), start)
            opened = None
        else:
            held.append(line.removeprefix(opened["indent"]))
    assert opened is None, f"the block opened at line {start - 1} is never closed"


def python_blocks(document: str) -> Iterator[Block]:
    """The blocks of Python; none can be marked as not to be run."""
    for block in blocks(document):
        if block.info.lower().startswith("py"):
            assert block.info == "python", f"line {block.line}: write ```python, not {block.info!r}"
            yield block


def run(block: Block, name: str, namespace: dict[str, object]) -> None:
    """Execute a block so that a traceback names the document's own line."""
    exec(compile("\n" * (block.line - 1) + block.text, name, "exec"), namespace)


def command_lines(document: str) -> Iterator[list[str]]:
    """The arguments of every `$ lowland …` in a block of console, continued lines joined."""
    for block in blocks(document):
        if block.info == "console":
            for line in block.text.replace("\\\n", " ").splitlines():
                if line.startswith("$ lowland"):
                    yield shlex.split(line.removeprefix("$ lowland"), comments=True)


def as_ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=as_ids)
def test_python_runs(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in python_blocks(document.read_text(encoding="utf-8")):
        run(block, document.name, namespace)


@pytest.mark.parametrize("document", DOCUMENTS, ids=as_ids)
def test_commands_exist(document: Path) -> None:
    lines = list(command_lines(document.read_text(encoding="utf-8")))
    if not lines:
        return
    from typer.main import get_command
    from typer.testing import CliRunner

    from lowland.cli import app

    command = get_command(app)
    for arguments in lines:
        verb = [] if not arguments or arguments[0].startswith("-") else arguments[:1]
        shown = CliRunner().invoke(app, [*verb, "--help"])
        assert shown.exit_code == 0, f"lowland {shlex.join(arguments)}: {shown.output}"
        # Rich wraps its help, so the declared options are asked instead of the printed page.
        known = {"--help"}.union(
            *(
                option.opts + option.secondary_opts
                for part in (command, *(command.commands[name] for name in verb))
                for option in part.params
            )
        )
        given = {word.split("=")[0] for word in arguments if re.match(r"--?[a-zA-Z]", word)}
        assert given <= known, f"lowland {shlex.join(arguments)}: no option {given - known}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=as_ids)
def test_links_lead_to_files(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in LINK.finditer(text):
        target = link["target"].split("#")[0]
        if target and not re.match(r"[a-z]+:", target):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_a_block_knows_its_line_and_language() -> None:
    document = (
        "# Title\n\n```python\na = 1\n```\ntext\n"
        "```console\n$ lowland list --all \\\n  -v\nout\n```\n"
    )
    python, console = blocks(document)
    assert python == Block("python", "a = 1", 4)
    assert console.info == "console"
    assert list(command_lines(document)) == [["list", "--all", "-v"]]


def test_a_failing_example_names_its_line() -> None:
    (block,) = python_blocks("\n\n```python\na = 1\nraise ValueError(a)\n```\n")
    with pytest.raises(ValueError, match="1") as caught:
        run(block, "guide.md", {})
    assert (str(caught.traceback[-1].path).split("/")[-1], caught.traceback[-1].lineno) == (
        "guide.md",
        4,
    )


@pytest.mark.parametrize("info", ["python notest", "py", "pycon", "Python"])
def test_no_example_can_be_excused(info: str) -> None:
    with pytest.raises(AssertionError, match="write ```python"):
        list(python_blocks(f"```{info}\n1 / 0\n```\n"))


def test_an_open_block_is_reported() -> None:
    with pytest.raises(AssertionError, match="never closed"):
        list(blocks("```python\na = 1\n"))
