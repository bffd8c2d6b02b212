"""Tracing as the settings ask for it: off it costs not even a module, on it says what it lacks."""

import subprocess
import sys
from pathlib import Path

import pytest

_OFF = """
import sys
import workers.cli.receive, workers.cli.serve, workers.cli.work, workers.cli.demo
import receiver.endpoints, receiver.publisher, workers.followups.enroller, workers.vendors.http
from schemas.settings import TracingSettings
from workers.cli.tracing import tracing
with tracing(TracingSettings(endpoint="http://collector:4318"), "muster") as tracer:
    print(tracer.on, sorted(name for name in sys.modules if name.partition(".")[0] in ("opentelemetry", "google", "requests")))
"""

#: As if it had been installed without the extra.
_WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
from workers.cli import main
main()
"""


def python(script: str, *arguments: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script to its end."""
    environment = {"PYTHONPATH": str(Path(__file__).parents[3]), **({"MUSTER_CONFIG": str(config)} if config else {})}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_off_opentelemetry_is_not_even_loaded() -> None:
    done = python(_OFF)

    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "False []", "")


@pytest.mark.parametrize("command", ["serve", "receive", "work"])
def test_on_without_the_extra_each_command_says_what_to_install(tmp_path: Path, command: str) -> None:
    broker = "" if command == "serve" else 'broker = "amqp://127.0.0.1:1/"\n'
    config = tmp_path / "muster.toml"
    config.write_text(f'{broker}data_dir = "{tmp_path}"\n[tracing]\nenabled = true\n')
    done = python(_WITHOUT, command, config=config)

    assert done.returncode == 1
    assert "pip install 'muster[tracing]'" in done.stderr
    assert "Traceback" not in done.stderr
