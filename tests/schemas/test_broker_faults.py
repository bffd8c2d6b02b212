"""A broker's fault is told by its name, and with the setting where it is about TLS."""

import ssl

import aiormq
import pytest

from schemas.broker_faults import as_broker_faults, told


def _untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


def _because(error: Exception) -> Exception:
    outer = ConnectionError("amqps://user:secret@host/")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (ConnectionRefusedError("amqp://user:secret@host/"), "ConnectionRefusedError"),
        (_untrusted(), "its certificate is not trusted, self-signed certificate: name its authority's with ?cafile=FILE in `broker`"),
        (
            _because(_untrusted()),
            "its certificate is not trusted, self-signed certificate: name its authority's with ?cafile=FILE in `broker`",
        ),
        (FileNotFoundError(2, "No such file or directory"), "a file that `broker` names for TLS is not there"),
        (_because(ValueError("secret")), "ConnectionError"),
    ],
)
def test_a_fault_is_told_without_values(fault: Exception, words: str) -> None:
    assert told(fault) == words


async def test_a_connection_that_is_closed_before_a_channel_is_asked_of_it_is_the_brokers_fault(broker_url: str) -> None:
    connection = await aiormq.connect(broker_url)
    await connection.close()

    with pytest.raises(ConnectionError, match="the connection is closed"), as_broker_faults():
        await connection.channel()


async def test_any_other_mistake_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="ours"), as_broker_faults():
        raise RuntimeError("ours")
