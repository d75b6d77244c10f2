"""Every error of lowland becomes one line on standard error and an exit code."""

import traceback
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from lowland._errors import DivergedError, LowlandError

BAD_INPUT, DIVERGED, INTERRUPTED = 2, 1, 130


class Verb(TyperCommand):
    """A command whose context is what its hint says, `typer.Context`."""

    context_class = typer.Context


class OneLineErrors(TyperGroup):
    """A group of commands whose users see `error: …` instead of a traceback."""

    context_class = typer.Context

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            typer.Exit: with 2 for bad input, 1 for numbers that diverged, 130 for Ctrl-C.
        """
        try:
            return super().invoke(ctx)
        except LowlandError as error:
            if ctx.obj:  # --debug
                traceback.print_exception(error)
            # Messages of other libraries inside ours may hold line breaks.
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
            code = DIVERGED if isinstance(error, DivergedError) else BAD_INPUT
            raise typer.Exit(code) from error
        except KeyboardInterrupt as error:
            typer.echo("error: interrupted; nothing more was written.", err=True)
            raise typer.Exit(INTERRUPTED) from error
