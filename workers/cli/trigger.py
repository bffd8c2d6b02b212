"""`muster trigger`."""

import json
import sys
from pathlib import Path
from typing import IO

import click

from schemas import samples
from schemas.reader import Role
from schemas.vendors import VENDORS
from workers.cli.addresses import base_url
from workers.cli.options import FAILED, MISUSED, config_option, fail, json_option, print_json, settings_for


@click.command()
@config_option
@click.argument("source")
@click.argument("event")
@click.option("--file", "file", type=click.File("rb"), help="The body to send; - reads standard input.")
@click.option("--url", help="Another receiver than the settings' own, e.g. http://127.0.0.1:8000.")
@json_option
def trigger(config: Path | None, source: str, event: str, file: IO[bytes] | None, url: str | None, as_json: bool) -> None:
    """Sign and POST a sample webhook as the vendor would; the samples are the vendors' own documents'.

    \b
    muster trigger hse ACTION_SUBSCRIPTION::CREATE
    muster trigger ispring USER_REGISTERED
    muster trigger lms course_completed --file body.json
    """
    settings = settings_for(config, Role.RECEIVER)
    if source not in settings.sources:
        fail(f"no source {source!r} is configured; there are: {', '.join(settings.sources) or 'none, run `muster init`'}", MISUSED)
    body = file.read() if file else samples.body(settings.sources[source].vendor, event)
    if body is None:
        fail(_no_sample(settings.sources[source].vendor, event), MISUSED)
    from workers.cli.sending import Unreachable, send

    try:
        status, answer = send(url or base_url(settings), source, settings.sources[source], event, body)
    except Unreachable as error:
        fail(str(error))
    if as_json:
        print_json({"status": status, "answer": answer})
    else:
        click.echo(f"{status} {json.dumps(answer)}")
    sys.exit(0 if status == 200 else FAILED)


def _no_sample(vendor: str, event: str) -> str:
    known = [name for of, name in samples.SAMPLES if of == vendor]
    return f"{VENDORS[vendor].title} documents no body for {event!r}: give one with --file, or take one of {', '.join(known) or 'none'}"
