"""TLS to PostgreSQL: the words of a URL, and a server whose certificate is believed, or not."""

import ssl
from pathlib import Path

import pytest
import trustme

from tests.services.postgres import Postgres
from workers.database import DatabaseRefused, close_database, open_database
from workers.tls import NotSecured, secured

ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs the server's certificate."""
    return trustme.CA()


@pytest.fixture(scope="module")
def address(mortal_postgres: Postgres, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A server that speaks TLS; its certificate is for 127.0.0.1 and no name."""
    certificate = tmp_path_factory.mktemp("server") / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    mortal_postgres.tls(certificate)
    return mortal_postgres.url()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> Path:
    """Its authority's certificate."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


async def encrypted(url: str) -> bool:
    """Whether a connection is."""
    database = await open_database(url)
    try:
        return bool((await database.connection.execute_query_dict(ENCRYPTED))[0]["ssl"])
    finally:
        await close_database()


@pytest.mark.parametrize(
    ("words", "is_encrypted"),
    [("", True), ("?sslmode=disable", False), ("?sslmode=require", True)],
    ids=["by default where the server does", "off", "without a check"],
)
async def test_what_checks_no_certificate(address: str, words: str, *, is_encrypted: bool) -> None:
    assert await encrypted(address + words) is is_encrypted


@pytest.mark.parametrize("mode", ["", "sslmode=verify-ca&", "sslmode=verify-full&"])
async def test_a_certificate_of_the_authority_that_is_named_is_believed(address: str, trusted: Path, mode: str) -> None:
    assert await encrypted(f"{address}?{mode}sslrootcert={trusted}")


@pytest.mark.parametrize("words", ["sslrootcert={other}", "sslmode=verify-full", "sslmode=verify-ca&sslrootcert={other}"])
async def test_one_of_another_authority_is_refused_and_the_setting_is_named(address: str, tmp_path: Path, words: str) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")

    with pytest.raises(
        DatabaseRefused, match=r"certificate is not trusted \(.+\): name its authority's with \?sslrootcert=FILE in `database`"
    ):
        await encrypted(f"{address}?{words.format(other=tmp_path / 'other.pem')}")


async def test_one_for_another_host_is_refused_unless_names_are_not_asked(address: str, trusted: Path) -> None:
    by_name = address.replace("127.0.0.1", "localhost")

    with pytest.raises(DatabaseRefused, match=r"not trusted .*localhost"):
        await encrypted(f"{by_name}?sslrootcert={trusted}")
    assert await encrypted(f"{by_name}?sslmode=verify-ca&sslrootcert={trusted}")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"sslmode": "full"}, "sslmode is none of disable, .*, verify-full"),
        ({"sslmode": "require", "sslrootcert": "/ca.pem"}, "sslmode=require checks no certificate: take verify-full"),
        ({"sslrootcert": "/nowhere/ca.pem"}, r"cannot be read \(No such file or directory\)"),
        ({"sslmode": "verify-full", "sslcert": "/nowhere/client.pem"}, "cannot be read"),
    ],
)
def test_what_cannot_be_is_told(words: dict[str, str], told: str) -> None:
    with pytest.raises(NotSecured, match=told):
        secured(words)


async def test_it_is_told_as_a_mistake_in_the_setting() -> None:
    with pytest.raises(DatabaseRefused, match=r"the database's URL: sslmode is none of .*: correct `database`"):
        await open_database("postgres://user:secret@127.0.0.1/db?sslmode=full")


def test_other_words_pass_and_the_systems_authorities_are_trusted_where_none_is_named() -> None:
    assert secured({"host": "db", "min_size": 3}) == {"host": "db", "min_size": 3}
    context = secured({"sslmode": "verify-full"})["ssl"]

    assert isinstance(context, ssl.SSLContext)
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
