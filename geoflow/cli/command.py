"""A command whose help is short and ends with examples: usage as it is typed, no types, 80 columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand


class Command(TyperCommand):
    """A command of the command line; `command` makes one of a function."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what follows the command's name: its arguments, and the options that it cannot do without."""
        needed = [
            f"{min(row.opts, key=len)} {row.metavar or 'VALUE'}"
            for row in self.params
            if row.param_type_name == "option" and row.required
        ]
        return ["[OPTIONS]", *map(argument_name, self.arguments()), *needed]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and the options into a help text."""
        rows = [(argument_name(row), row.help) for row in self.arguments() if row.help]
        write_section(formatter, "Arguments", rows)
        write_section(formatter, "Options", self.option_records(ctx))

    def arguments(self) -> list[Any]:
        return [row for row in self.params if row.param_type_name == "argument"]

    def option_records(self, ctx: Any) -> list[tuple[str, str]]:
        """Return each option as its help shows it, and its meaning."""
        rows = [row for row in self.get_params(ctx) if row.param_type_name == "option"]
        return [record for row in rows if (record := row.get_help_record(ctx)) is not None]


def argument_name(row: Any) -> str:
    """Return an argument as it stands in the usage, such as INPUT... or [NAME]."""
    return str(row.metavar or row.name.upper())


def write_section(formatter: Any, title: str, rows: list[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)


def command(
    app: typer.Typer, *shown: str, name: str | None = None, cls: type[Command] = Command, **settings: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command of `app`; the examples `shown` end its help."""
    return app.command(name, cls=cls, epilog=examples(*shown), **settings)


def examples(*shown: str) -> str:
    """Return the end of a help text: examples, one a line, as they are typed."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in shown)
