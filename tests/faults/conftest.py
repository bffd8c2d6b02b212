"""Where the scenarios take place: servers that may be killed are a module's own."""

import os
import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.holding import KILLS
from tests.faults.trial import Ground
from tests.services.postgres import Postgres
from tests.services.rabbitmq import RabbitMQ


@pytest.fixture(scope="module")
def seed() -> int:
    """The run's choices; FAULTS_SEED repeats them."""
    return int(os.environ.get("FAULTS_SEED", secrets.randbelow(1_000_000)))


@pytest.fixture
def embedded_ground(tmp_path: Path, seed: int) -> Ground:
    """A place without servers."""
    return Ground(tmp_path, KILLS, seed)


@pytest.fixture
def ground(embedded_ground: Ground, mortal_rabbitmq: RabbitMQ, mortal_postgres: Postgres) -> Ground:
    """A place with broker and database."""
    return replace(embedded_ground, servers=(mortal_rabbitmq, mortal_postgres))
