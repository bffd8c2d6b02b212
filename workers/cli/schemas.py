"""`muster schemas`."""

import json
from importlib.metadata import version
from pathlib import Path

import click


@click.group()
def schemas() -> None:
    """Write down what muster tells other teams."""


@schemas.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def export(folder: Path) -> None:
    """Write the events' JSON Schemas, one file a type, and asyncapi.json, an AsyncAPI 3.0 document of them all.

    DIR is made where it is not there yet; files of these names are overwritten. A type's data only ever gains fields; anything
    else is a new type (….v2) beside the old one. Validate `data` with the file of the event's `type`: its $id is the event's
    `dataschema`.
    """
    from schemas.asyncapi import documents

    folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents(version("muster")).items():
        (folder / name).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        click.echo(folder / name)
