"""The starter `muster.toml`, with secrets of its own."""

import os
import secrets
from pathlib import Path

from schemas.mistakes import Mistake, SettingsError
from schemas.reader import Role

_SHARED = """\
# muster's settings. Every key can also come from the environment: MUSTER_BROKER, MUSTER_RECEIVER__PORT, …
# Unset keys have the defaults shown behind #. `muster check` finds every mistake.

# broker = "amqp://guest:guest@127.0.0.1/"          # none: embedded, one process does it all (`muster serve`)
# broker_file = "/run/secrets/broker"               # the same, from a file
# data_dir = "./muster-data"                        # spool, and the database unless another is named
"""

_WORKER = """\
# database = "postgres://muster:…@127.0.0.1/muster"  # an SQLite file in data_dir
# database_file = "/run/secrets/database"
"""

_RECEIVER = """
[receiver]
# host = "127.0.0.1"
# port = 8000
# public_url = "https://hooks.example.com"          # what vendors reach; a proxy with TLS stands there

# 4HSE: Administration > Configuration > Webhooks, one webhook for each event. `muster sources urls` prints the addresses.
[sources.hse]
vendor = "4hse"
verify = {{ secrets = ["{token}"] }}

# aNewSpring: their support sets address and secret.
[sources.lms]
vendor = "anewspring"
verify = {{ secrets = ["{hmac}"] }}

# iSpring Learn: address and secret are given to /webhook/register.
[sources.ispring]
vendor = "ispring"
verify = {{ secrets = ["{concat}"] }}
"""

_LOCAL = """
[local]                                             # health, for this machine only
# host = "127.0.0.1"
# receiver_port = 8001
# worker_port = 8002
"""

_PARTS = {
    Role.RECEIVER: _SHARED + _RECEIVER + _LOCAL,
    Role.WORKER: _SHARED + _WORKER + _LOCAL,
    Role.ALL: _SHARED + _WORKER + _RECEIVER + _LOCAL,
}


def starter(role: Role) -> str:
    """A role's starter settings; the three secrets are new each time."""
    text = _PARTS[role]
    made = {name: secrets.token_urlsafe(32) for name in ("token", "hmac", "concat")}
    return text.format(**made) if role is not Role.WORKER else text


def write_starter(path: Path, role: Role) -> bool:
    """Write the starter file, readable by this user alone, unless there is a file; tell whether it was written. Raises SettingsError."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        remedy = "Make its folder, let this user write there, or name a file that is there with --config or MUSTER_CONFIG"
        raise SettingsError([Mistake(str(path), f"it cannot be written: {error.strerror}", remedy)]) from None
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(starter(role))
    return True
