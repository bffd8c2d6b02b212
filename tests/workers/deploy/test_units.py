"""The systemd units are what systemd understands, start commands that there are, and open little."""

import re
import stat
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
ROLES = {"muster-receiver@.service": Role.RECEIVER, "muster-worker@.service": Role.WORKER, "muster-serve.service": Role.ALL}
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

    assert state in (user, f"{user}/%i")
    assert values(unit, "WorkingDirectory") == [f"/var/lib/{state}"]
    assert f'data_dir = "/var/lib/{state.replace("%i", "1")}"' in text_of(unit)
    assert {user for one in UNITS if one != unit for user in values(one, "User")}.isdisjoint({user})


def test_receivers_of_one_host_have_settings_and_state_of_their_own() -> None:
    unit = "muster-receiver@.service"

    assert values(unit, "Environment") == [f"{CONFIG_VARIABLE}=/etc/muster/receiver/%i.toml"]
    assert values(unit, "StateDirectory") == ["muster-receiver/%i"]


@pytest.mark.parametrize("unit", UNITS)
def test_what_a_head_does_to_folders_and_files_lets_its_group_in_and_nobody_else(unit: str, tmp_path: Path) -> None:
    """Run as it stands, in another place and without the groups, in a shell that shuts whatever it makes."""
    shown = re.findall(r"^#   (install -d .*|chgrp .*?)(?:  +#.*)?$", text_of(unit), re.MULTILINE)
    here = [re.sub(r"-g \S+ |chgrp -R \S+ \S+ && ", "", line).replace("/etc/muster", str(tmp_path / "muster")) for line in shown]
    folder = Path(re.findall(r"chmod -R \S+ (\S+)$", here[-1])[0])
    made = f"umask 077 && {here[0]} && mkdir {folder}/keys && touch {folder}/muster.toml {folder}/keys/one && {here[-1]}"
    subprocess.run(["/bin/sh", "-c", made], check=True)

    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder, folder / "keys")] == [0o755, 0o750, 0o750]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder / "muster.toml", folder / "keys/one")} == {0o640}
    assert values(unit, "Environment")[0].startswith(f"{CONFIG_VARIABLE}=/etc/muster/{folder.name}/")


def test_a_head_says_how_the_program_comes_to_be_where_units_start_it() -> None:
    assert "python3 -m venv /opt/muster\n#   /opt/muster/bin/pip install -c requirements.lock .\n" in text_of("muster-serve.service")
    assert all("/opt/muster as muster-serve.service says" in text_of(unit) for unit in UNITS if unit != "muster-serve.service")


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_waits_longer_than_the_grace_and_leaves_wrong_settings_to_a_person(unit: str) -> None:
    assert int(values(unit, "TimeoutStopSec")[0]) > max(ReceiverSettings().grace, WorkerSettings().grace)
    assert values(unit, "RestartPreventExitStatus") == [str(MISUSED)]
    assert values(unit, "Restart") == ["always"]
