"""A second look, with other settings: the receiver's own intake decides, as at the arrival, and only once however often."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from receiver.errors import BodyTooLarge, NotVerified, Refusal, SenderNotAllowed, UnknownSource
from receiver.intake import Request
from receiver.masks import masked
from receiver.rejects import Rejected
from receiver.retrials import Court, retried
from receiver.signatures import sign
from receiver.sources import Source, sources
from receiver.spool import Spooled, SpoolFull
from schemas.delivery import Delivery, decode
from schemas.settings import Settings

KEY, BODY = b"k" * 32, b'{"a": 1}'
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

SCHEMES: dict[str, dict[str, Any]] = {
    "token": {"scheme": "token", "query": "token"},
    "header": {"scheme": "token", "header": "X-Token"},
    "basic": {"scheme": "basic"},
    "hmac": {"scheme": "hmac", "header": "X-Sig", "timestamp_header": "X-When", "tolerance": 300},
    "concat": {"scheme": "sha256-concat", "header": "X-Hub"},
    "standard": {"scheme": "standard-webhooks"},
}
#: How each scheme writes its secrets.
WRITTEN = {"basic": "u:{}", "standard": "whsec_{}"}


def configured(scheme: str | list[str], secret: str, **changed: Any) -> dict[str, Source]:
    """One source, whose schemes all have this secret."""
    names = [scheme] if isinstance(scheme, str) else scheme
    verify = [
        SCHEMES[name] | {"secrets": [WRITTEN.get(name, "{}").format(secret)]} if name in SCHEMES else {"scheme": name} for name in names
    ]
    given = {"vendor": "kare", "account": "k", "verify": verify} | changed
    return dict(sources(Settings.model_validate({"sources": {"one": given}})))


def sent(scheme: str, secret: str, at: datetime, **changed: Any) -> Request:
    """A request as a sender with that secret makes it."""
    (verify,) = configured(scheme, secret)["one"].verify
    proof = sign(verify, BODY, "msg_1", at)
    headers = {name.lower(): value for name, value in proof.headers.items()}
    return Request(**({"event": "E", "headers": headers, "query": dict(proof.query), "peer": "192.0.2.7", "body": BODY} | changed))


def kept(source: Source, request: Request, at: datetime = NOON) -> Rejected:
    """The request as it is kept."""
    return Rejected(uuid7(), source.name, at, masked(KEY, source, request))


def judged(one: Rejected, known: dict[str, Source], key: bytes = KEY) -> Delivery:
    """The verdict."""
    return Court(key, known, ()).judge(one)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_mended_secret_vouches_for_what_was_signed_with_it_long_ago(scheme: str) -> None:
    one = kept(configured(scheme, "d3Jv")["one"], sent(scheme, "cmlnaHQ=", NOON))
    found = judged(one, configured(scheme, "cmlnaHQ="))

    assert (found.id, found.received_at, found.event, found.body) == (one.id, NOON, "E", BODY)
    assert not set(found.headers) & {"authorization", "x-token", "x-sig", "webhook-signature"}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_secret_that_is_still_wrong_lets_nothing_in(scheme: str) -> None:
    one = kept(configured(scheme, "d3Jv")["one"], sent(scheme, "cmlnaHQ=", NOON))

    with pytest.raises(NotVerified):
        judged(one, configured(scheme, "d3Jv"))


@pytest.mark.parametrize(("late", "passes"), [(299, True), (301, False)])
def test_how_old_a_signature_may_be_is_judged_at_the_arrival(late: int, passes: bool) -> None:
    request = sent("hmac", "right", NOON - timedelta(seconds=late))
    one, known = kept(configured("hmac", "wrong")["one"], request), configured("hmac", "right")

    if passes:
        assert judged(one, known)
    else:
        with pytest.raises(NotVerified):
            judged(one, known)


def test_without_the_key_no_token_is_recognised() -> None:
    one = kept(configured("token", "wrong")["one"], sent("token", "right", NOON))

    with pytest.raises(NotVerified):
        judged(one, configured("token", "right"), key=b"")


def test_a_source_that_asks_for_no_proof_lets_in_nothing_of_before() -> None:
    one = kept(configured("token", "wrong")["one"], sent("token", "right", NOON))

    with pytest.raises(NotVerified):
        judged(one, configured("none", ""))
    assert judged(one, configured(["none", "token"], "right"))


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        pytest.param({"max_body": 3}, BodyTooLarge, id="a body that is too large by now"),
        pytest.param({"networks": ["198.51.100.0/24"]}, SenderNotAllowed, id="a sender that may send no more"),
    ],
)
def test_every_other_rule_of_the_intake_holds_too(changed: dict[str, Any], refusal: type[Refusal]) -> None:
    one = kept(configured("token", "wrong")["one"], sent("token", "right", NOON))

    with pytest.raises(refusal):
        judged(one, configured("token", "right", **changed))


def test_what_a_proxy_handed_in_is_judged_by_its_sender() -> None:
    settings = Settings.model_validate({"receiver": {"trusted_proxies": ["192.0.2.0/24"]}})
    request = sent("token", "right", NOON, headers={"x-forwarded-for": "198.51.100.9"})
    one = kept(configured("token", "wrong")["one"], request)
    known = configured("token", "right", networks=["198.51.100.0/24"])

    assert Court(KEY, known, settings.receiver.trusted_proxies).judge(one)


def test_a_source_that_is_gone_is_told() -> None:
    with pytest.raises(UnknownSource):
        judged(kept(configured("token", "wrong")["one"], sent("token", "right", NOON)), {})


class Kept:
    """Keeps so many in memory."""

    def __init__(self, room: int = 100) -> None:
        self.rows, self._room = list[Spooled](), room

    async def keep(self, spooled: Spooled) -> None:
        if len(self.rows) == self._room:
            raise SpoolFull
        self.rows.append(spooled)

    @property
    def ids(self) -> list[UUID]:
        return [decode(row.delivery).id for row in self.rows]


def a_right_a_wrong_and_a_right_one() -> list[Rejected]:
    wrong = configured("token", "wrong")["one"]
    return [kept(wrong, sent("token", secret, NOON)) for secret in ("right", "other", "right")]


async def test_what_passes_is_kept_before_it_is_told_and_the_same_the_second_time() -> None:
    found, known, keeper = a_right_a_wrong_and_a_right_one(), configured("token", "right"), Kept()
    told = [(one.id, refusal is None, len(keeper.rows)) async for one, refusal in retried(Court(KEY, known, ()), found, keeper)]
    again = Kept()
    assert [one async for one in retried(Court(KEY, known, ()), found, again)]

    assert told == [(found[0].id, True, 1), (found[1].id, False, 1), (found[2].id, True, 2)]
    assert keeper.ids == again.ids == [found[0].id, found[2].id]
    assert [row.source for row in keeper.rows] == ["one", "one"]


async def test_one_that_finds_no_room_is_not_told_as_passed() -> None:
    looking = retried(Court(KEY, configured("token", "right"), ()), a_right_a_wrong_and_a_right_one(), Kept(room=1))
    assert [type((await anext(looking))[1]) for _ in range(2)] == [type(None), NotVerified]

    with pytest.raises(SpoolFull):
        await anext(looking)


async def test_a_rehearsal_keeps_nothing() -> None:
    court = Court(KEY, configured("token", "right"), ())
    refusals = [refusal async for _, refusal in retried(court, a_right_a_wrong_and_a_right_one(), None)]

    assert [type(one) for one in refusals] == [type(None), NotVerified, type(None)]
