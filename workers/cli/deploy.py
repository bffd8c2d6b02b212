"""`muster deploy`."""

from pathlib import Path

import click

from workers.cli.options import fail, json_option, print_json


@click.group()
def deploy() -> None:
    """Example files to run muster with: systemd, containers, a proxy, RabbitMQ's users, alerts, a dashboard.

    Each begins with what it is and how it is used. They are examples: read them, then make them yours.
    """


@deploy.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the files and what each is for."""
    from workers.operations.deployment import FILES

    if as_json:
        print_json([{"name": name, "purpose": purpose} for name, purpose in FILES.items()])
        return
    width = max(map(len, FILES))
    for name, purpose in FILES.items():
        click.echo(f"{name:{width}}  {purpose}")


@deploy.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--overwrite", is_flag=True, help="Also over files that differ from the examples; secrets are left as they are.")
def export(folder: Path, overwrite: bool) -> None:
    """Write them all into DIR, and fresh passwords into DIR/secrets.

    DIR is made where it is not there yet. Passwords that are there stay, and RabbitMQ's users get them: running this again is
    harmless, also after an upgrade. The folder `secrets` is for you alone; the files in it are readable to all, for containers
    run as users of their own.
    """
    from workers.operations.deployment import Differs
    from workers.operations.deployment import export as written

    try:
        for path in written(folder, overwrite=overwrite):
            click.echo(path)
    except Differs as differing:
        fail(f"in {folder} there are files that differ: {differing}. Nothing was written: take another DIR, or --overwrite")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{folder} cannot be written ({type(error).__name__}): take another DIR")
    except KeyError:
        fail(f"in {folder / 'secrets'} an address of the broker names another user: mend it, or take another DIR")
