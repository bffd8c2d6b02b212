"""What every command says of itself with --help."""

from collections.abc import Iterator

import click
import pytest

from workers.cli import main


def commands(group: click.Group, ctx: click.Context, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command of a group, and of the groups in it."""
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, ctx, *path, name)


@pytest.mark.parametrize(("name", "command"), [pytest.param(*one, id=one[0]) for one in commands(main, click.Context(main))])
def test_lines_that_are_to_stay_as_they_are_do(name: str, command: click.Command) -> None:
    """click knows them by a control character, which a raw text does not hold."""
    said = command.get_help(click.Context(command, info_name=name))

    assert "\\b" not in said
    assert "\b" not in said
    assert command.help
