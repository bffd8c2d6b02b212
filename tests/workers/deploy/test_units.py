"""The systemd units are what systemd understands, start commands that there are, and open little."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.reader import CONFIG_VARIABLE, Role, load
from schemas.settings import ReceiverSettings, WorkerSettings
from tests.services import installed
from tests.workers.deploy.examples import understood
from workers.cli.options import MISUSED
from workers.operations.deployment import FILES, text_of

UNITS = [name for name in FILES if name.endswith(".service")]
ROLES = {"muster-receiver.service": Role.RECEIVER, "muster-worker@.service": Role.WORKER, "muster-serve.service": Role.ALL}
EXPOSED_AT_MOST = 15  # of 100; a service that says nothing has 96


def values(unit: str, key: str) -> list[str]:
    """What a unit says under a key."""
    return re.findall(rf"^{key}=(.*)$", text_of(unit), re.MULTILINE)


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_every_line_and_finds_it_well_shut(unit: str, tmp_path: Path) -> None:
    analyze = installed("systemd-analyze", "systemd")
    (tmp_path / unit).write_text(text_of(unit).replace("/opt/muster/bin/muster", sys.executable))
    verified = subprocess.run([analyze, "verify", "--man=no", tmp_path / unit], capture_output=True, text=True, check=False)
    judged = subprocess.run(
        [analyze, "security", "--offline=true", f"--threshold={EXPOSED_AT_MOST}", tmp_path / unit],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    assert judged.returncode == 0, judged.stdout[-300:]


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_starts_a_command_that_there_is_with_settings_that_there_are(unit: str, tmp_path: Path) -> None:
    program, *words = values(unit, "ExecStart")[0].split()
    environ = dict(pair.split("=", 1) for pair in values(unit, "Environment")[0].replace("%i", "8003").split())
    assert environ.pop(CONFIG_VARIABLE).startswith("/etc/muster/")
    settings = load(_empty(tmp_path), ROLES[unit], environ)

    assert program == "/opt/muster/bin/muster"
    understood(words)
    assert settings.local.worker_port == (8003 if ROLES[unit] is Role.WORKER else 8002)


def _empty(folder: Path) -> Path:
    path = folder / "muster.toml"
    path.touch()
    return path


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_writes_to_its_own_folder_alone_as_a_user_of_its_own(unit: str) -> None:
    (user,), (state,) = values(unit, "User"), values(unit, "StateDirectory")

    assert user == state
    assert f'data_dir = "/var/lib/{state}"' in text_of(unit)
    assert {user for one in UNITS if one != unit for user in values(one, "User")}.isdisjoint({user})


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_waits_longer_than_the_grace_and_leaves_wrong_settings_to_a_person(unit: str) -> None:
    assert int(values(unit, "TimeoutStopSec")[0]) > max(ReceiverSettings().grace, WorkerSettings().grace)
    assert values(unit, "RestartPreventExitStatus") == [str(MISUSED)]
    assert values(unit, "Restart") == ["always"]
