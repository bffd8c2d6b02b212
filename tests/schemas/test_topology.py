"""The broker's topology: what the promises need of it."""

import pytest

from schemas.topology import DEAD, DELIVERIES, EVENTS, EXCHANGES, QUEUES, REPLAYS, routing_key
from schemas.vendors import VENDORS


def test_every_queue_is_a_quorum_queue_fed_by_an_exchange_that_is_declared() -> None:
    assert {queue.arguments["x-queue-type"] for queue in QUEUES} == {"quorum"}
    assert {queue.exchange for queue in QUEUES} == {exchange.name for exchange in EXCHANGES} - {EVENTS} == {DELIVERIES, REPLAYS, DEAD}


def test_the_events_exchange_is_a_topic_and_nobody_has_to_listen() -> None:
    assert next(exchange.type for exchange in EXCHANGES if exchange.name == EVENTS) == "topic"


@pytest.mark.parametrize("name", [DELIVERIES, REPLAYS])
def test_what_is_worked_off_is_dead_lettered_at_least_once_and_not_before_20_attempts(name: str) -> None:
    arguments = next(queue.arguments for queue in QUEUES if queue.name == name)

    assert int(arguments["x-delivery-limit"]) >= 20
    assert arguments["x-dead-letter-exchange"] == DEAD
    # RabbitMQ falls back to at-most-once, silently, without reject-publish.
    assert (arguments["x-dead-letter-strategy"], arguments["x-overflow"]) == ("at-least-once", "reject-publish")


def test_the_deliveries_exchange_is_a_topic_and_its_queue_takes_every_key() -> None:
    assert next(exchange.type for exchange in EXCHANGES if exchange.name == DELIVERIES) == "topic"
    assert next(queue.routing_key for queue in QUEUES if queue.name == DELIVERIES) == "#"


def test_replays_come_from_an_exchange_of_their_own_and_from_no_other() -> None:
    assert [(queue.name, queue.exchange) for queue in QUEUES if REPLAYS in (queue.name, queue.exchange)] == [(REPLAYS, REPLAYS)]
    assert next(exchange.type for exchange in EXCHANGES if exchange.name == REPLAYS) == "fanout"


def test_a_routing_key_is_vendor_and_source_and_fits_into_the_protocols_255_bytes() -> None:
    longest = "s" * 63

    assert routing_key("4hse", "hse") == "4hse.hse"
    assert all(len(routing_key(vendor, longest)) <= 255 for vendor in VENDORS)
