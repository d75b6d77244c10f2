"""Options from the command line and from TOML files, read by one grammar."""

import difflib
import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from lowland._errors import DomainError

VERBS = ("fit", "ask", "show")
_WORD = re.compile(r"[A-Za-z_][\w.+-]*")
# Options that may be given several times, so that a file gives them as a table or a list.
_REPEATED = ("set", "strategy-set")
_COMMA_LISTS = ("columns", "drop")


def examples(*lines: str) -> str:
    """An epilogue of help; the empty lines keep rich from joining the examples."""
    shown = [f"  [cyan]{line}[/cyan]".replace("[[", "\\[[") for line in lines]
    return "\n\n".join(["[bold]Examples[/bold]", *shown])


def settings(given: list[str], flag: str) -> dict[str, Any]:
    """Read `name=value` pairs; a value is TOML, or a bare word.

    Args:
        given: what the user wrote, such as `["k=64", "start=random", "hidden=[512, 256]"]`.
        flag: the option that it was written after, for messages.

    Raises:
        DomainError: a pair cannot be read, or a name comes twice.

    Example:
        >>> settings(["k=64", "start=random", "hidden=[512, 256]"], "--set")
        {'k': 64, 'start': 'random', 'hidden': (512, 256)}
    """
    found: dict[str, Any] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier():
            raise DomainError(f"{flag} takes name=value, such as {flag} k=64. Got {pair!r}.")
        if name in found:
            raise DomainError(f"{flag} gives {name!r} twice. Give it once.")
        found[name] = _value(text.strip(), pair, flag)
    return found


def _value(text: str, pair: str, flag: str) -> Any:
    try:
        read = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        if _WORD.fullmatch(text):
            return text
        raise DomainError(
            f"{flag} {pair!r} cannot be read ({error}). A value is a number, true, false, a word, "
            f'"quoted text" or a list such as [512, 256].'
        ) from error
    if list(read) != ["value"]:
        raise DomainError(f"{flag} {pair!r} holds more than one value.")
    value = read["value"]
    return tuple(value) if isinstance(value, list) else value


def refuse_unknown(given: dict[str, Any], known: list[str], owner: str) -> None:
    """Raise `DomainError` if a name is not among the known ones, naming those."""
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise DomainError(
                f"{owner} does not take the option {name!r}.{hint} It takes: "
                f"{', '.join(known) or 'none'}."
            )


def _take_defaults(context: typer.Context, path: Path | None) -> Path | None:
    """Let a TOML file answer for every option that the command line does not give."""
    if path is None or context.resilient_parsing:
        return path
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DomainError(f"--config {path} cannot be read: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DomainError(f"--config {path} is not TOML: {error}.") from error
    verb = str(context.info_name)
    tables = {name: table for name, table in content.items() if name in VERBS}
    given = {name: value for name, value in content.items() if name not in VERBS}
    table = tables.get(verb, {})
    if not isinstance(table, dict):
        raise DomainError(f"'{verb}' in {path} must be a table, [{verb}]. Got {table!r}.")
    given = {name.replace("_", "-"): value for name, value in (given | table).items()}
    known = {_typed(p): str(p.name) for p in context.command.params if p.name != "config"}
    known.pop("help", None)
    refuse_unknown(given, list(known), f"'lowland {verb}' (from {path})")
    context.default_map = {
        known[name]: _written(name, value, path) for name, value in given.items()
    }
    return path


def _typed(parameter: Any) -> str:
    """The name of an option or argument as users type it, without dashes in front."""
    options = [name for name in parameter.opts if name.startswith("--")]
    return str(options[0].removeprefix("--") if options else parameter.name)


def _written(name: str, value: Any, path: Path) -> str | list[str]:
    """A value of the file as it would stand on the command line, so that both are judged alike."""
    texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    if name in _REPEATED:
        if isinstance(value, dict):
            return [f"{key}={_toml(inner)}" for key, inner in value.items()]
        if texts:
            return list(value)
        raise DomainError(f"'{name}' in {path} must be a table of names and values. Got {value!r}.")
    if texts and name in _COMMA_LISTS:
        return ",".join(value)
    if isinstance(value, str | int | float):
        return str(value)
    raise DomainError(f"'{name}' in {path} must be one value. Got {value!r}.")


def _toml(value: Any) -> str:
    # For whole numbers, booleans, text and lists, JSON is TOML; but JSON has no inf.
    return repr(value) if isinstance(value, float) else json.dumps(value, default=str)


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        callback=_take_defaults,
        is_eager=True,
        metavar="FILE",
        help="A TOML file with any of these options, at the top or in a table named like the "
        "verb; the command line wins.",
    ),
]
