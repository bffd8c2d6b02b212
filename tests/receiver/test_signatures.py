"""Verification against published vectors and other implementations; what is wrong is refused, never an error."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from standardwebhooks import Webhook

from receiver.signatures import SCHEMES, Evidence, Proof, credentials, sign, verified
from schemas.vendors import VENDORS
from schemas.verification import Verification

_scheme: TypeAdapter[Verification] = TypeAdapter(Verification)

NOW = datetime(2026, 11, 21, 9, 30, 0, tzinfo=UTC)
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def scheme(**settings: Any) -> Verification:
    """A scheme's settings."""
    return _scheme.validate_python(settings)


def evidence(proof: Proof, body: bytes) -> Evidence:
    """What arrives when a sender adds a proof: header names in lower case, as the server hands them over."""
    return Evidence({name.lower(): value for name, value in proof.headers.items()}, proof.query, body)


def holds(settings: Verification, headers: Mapping[str, str], body: bytes, now: datetime = NOW) -> bool:
    """Whether headers vouch for a body."""
    return verified([settings], Evidence(headers, {}, body), now)


# RFC 2202 (SHA-1) and RFC 4231 (SHA-2): test cases 2 and 4, the keys that are text.
_JEFE = ("Jefe", b"what do ya want for nothing?")
_COUNTING = ("".join(map(chr, range(1, 26))), b"\xcd" * 50)


@pytest.mark.parametrize(
    ("algorithm", "secret", "body", "digest"),
    [
        ("sha1", *_JEFE, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        ("sha1", *_COUNTING, "4c9007f4026250c6bc8414f9bf50c86c2d7235da"),
        ("sha256", *_JEFE, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        ("sha256", *_COUNTING, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        (
            "sha512",
            *_JEFE,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
        (
            "sha512",
            *_COUNTING,
            "b0ba465637458c6990e5a8c5f61d4af7e576d97ff94b872de76f8050361ee3dba91ca5c11aa25eb4d679275cc5788063a5f19741120c4f2de2adebeb10a298dd",
        ),
    ],
    ids=["sha1-2", "sha1-4", "sha256-2", "sha256-4", "sha512-2", "sha512-4"],
)
@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize("prefix", ["", "v0="])
def test_hmac_agrees_with_the_rfcs_vectors(algorithm: str, secret: str, body: bytes, digest: str, encoding: str, prefix: str) -> None:
    given_ = digest if encoding == "hex" else base64.b64encode(bytes.fromhex(digest)).decode()
    settings = scheme(scheme="hmac", header="X-Sig", algorithm=algorithm, encoding=encoding, prefix=prefix, secrets=[secret])

    assert holds(settings, {"x-sig": prefix + given_}, body)
    assert holds(settings, {"x-sig": given_}, body), "the prefix is optional"
    assert not holds(settings, {"x-sig": prefix + given_}, body + b" ")


def test_hexadecimal_is_accepted_in_either_case() -> None:
    settings = scheme(scheme="hmac", header="X-Sig", algorithm="sha1", secrets=["Jefe"])

    assert holds(settings, {"x-sig": "EFFCDF6AE5EB2FA2D27416D5F184DF9C259A7C79"}, _JEFE[1])


def test_anewsprings_preset_is_base64_of_hmac_sha1() -> None:
    settings = scheme(**(VENDORS["anewspring"].verify or {}), secrets=["Jefe"])

    assert holds(settings, {"x-webhook-signature": "7/zfauXrL6LSdBbV8YTfnCWafHk="}, _JEFE[1])
    assert not holds(settings, {"x-webhook-signature": "7/zfauXrL6LSdBbV8YTfnCWafHk"}, _JEFE[1])


@pytest.mark.parametrize("prefix", ["", "sha256="])
@pytest.mark.parametrize(
    ("body", "secret", "digest"),
    [
        # FIPS 180-4's examples, cut in two anywhere: the scheme is the plain hash of the concatenation.
        (b"ab", "c", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijk",
            "ljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
    ],
    ids=["one block", "two blocks"],
)
def test_isprings_preset_is_sha256_of_body_and_secret_with_and_without_prefix(body: bytes, secret: str, digest: str, prefix: str) -> None:
    settings = scheme(**(VENDORS["ispring"].verify or {}), secrets=[secret])

    assert holds(settings, {"x-hub-signature": prefix + digest}, body)
    assert not holds(settings, {"x-hub-signature": prefix + digest}, body + secret[:1].encode())


def test_the_standard_webhooks_specifications_vector_is_verified() -> None:
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    settings, sent_at = scheme(scheme="standard-webhooks", secrets=[KEY]), datetime.fromtimestamp(1614265330, UTC)

    assert holds(settings, headers, b'{"test": 2432232314}', sent_at)
    assert not holds(settings, headers, b'{"test":2432232314}', sent_at)


@given(key=st.binary(min_size=1, max_size=64), identifier=st.text("abcXYZ019_-.", min_size=1, max_size=30), body=st.text(max_size=100))
def test_standard_webhooks_agrees_with_the_specifications_library_both_ways(key: bytes, identifier: str, body: str) -> None:
    secret, now = "whsec_" + base64.b64encode(key).decode(), datetime.now(UTC)
    ours, theirs = scheme(scheme="standard-webhooks", secrets=[secret]), Webhook(secret)

    theirs.verify(body, dict(sign(ours, body.encode(), identifier, now).headers), json_parse=False)
    headers = {
        "webhook-id": identifier,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": theirs.sign(identifier, now, body),
    }
    assert holds(ours, headers, body.encode(), now)


@pytest.mark.parametrize(
    ("signatures", "expected"),
    [
        ("{good}", True),
        ("v1,AAAA {good}", True),
        ("{good} v1,AAAA", True),
        ("v1a,AAAA v2,BBBB {good}", True),
        ("v1,AAAA", False),
        ("v2,{bare}", False),
        ("{bare}", False),
        ("v1", False),
        ("", False),
        (" ", False),
        (",", False),
    ],
)
def test_standard_webhooks_takes_any_of_several_v1_signatures(signatures: str, expected: bool) -> None:
    settings = scheme(scheme="standard-webhooks", secrets=[KEY])
    headers = dict(sign(settings, b"{}", "msg_1", NOW).headers)
    good = headers["webhook-signature"]
    headers["webhook-signature"] = signatures.format(good=good, bare=good.removeprefix("v1,"))

    assert holds(settings, headers, b"{}") is expected


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_standard_webhooks_needs_its_three_headers(missing: str) -> None:
    settings = scheme(scheme="standard-webhooks", secrets=[KEY])
    headers = {name: value for name, value in sign(settings, b"{}", "msg_1", NOW).headers.items() if name != missing}

    assert not holds(settings, headers, b"{}")


@pytest.mark.parametrize(
    ("secret", "header"),
    # RFC 7617, sections 2 and 2.1.
    [("Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), ("test:123£", "dGVzdDoxMjPCow==")],
)
def test_basic_agrees_with_the_rfcs_vectors(secret: str, header: str) -> None:
    settings = scheme(scheme="basic", secrets=[secret])

    assert holds(settings, {"authorization": f"Basic {header}"}, b"")
    assert holds(settings, {"authorization": f"basic   {header}"}, b"")
    assert not holds(settings, {"authorization": f"Bearer {header}"}, b"")
    assert not holds(settings, {"authorization": header}, b"")
    assert not holds(settings, {}, b"")


def test_a_token_counts_only_where_it_belongs() -> None:
    in_query, in_header = scheme(scheme="token", query="token", secrets=["s3"]), scheme(scheme="token", header="X-Token", secrets=["s3"])

    assert verified([in_query], Evidence({}, {"token": "s3"}, b""), NOW)
    assert verified([in_header], Evidence({"x-token": "s3"}, {}, b""), NOW)
    assert not verified([in_query], Evidence({"token": "s3", "x-token": "s3"}, {"other": "s3", "Token": "s3"}, b""), NOW)
    assert not verified([in_header], Evidence({"token": "s3"}, {"token": "s3", "x-token": "s3"}, b""), NOW)


# Every scheme, with two secrets where it has any: enough to sign, to rotate and to be tampered with.
EVERY = [
    scheme(scheme="token", query="token", secrets=["first-token", "second-token"]),
    scheme(scheme="token", header="X-Token", secrets=["first-token", "second-token"]),
    scheme(scheme="basic", secrets=["user:first", "user:second"]),
    scheme(scheme="hmac", header="X-Sig", secrets=["first", "second"]),
    scheme(scheme="hmac", header="X-Sig", algorithm="sha1", encoding="base64", secrets=["first", "second"]),
    scheme(scheme="hmac", header="X-Sig", algorithm="sha512", prefix="sha512=", timestamp_header="X-Time", secrets=["first", "second"]),
    scheme(scheme="sha256-concat", header="X-Hub-Signature", secrets=["first", "second"]),
    scheme(scheme="sha256-concat", header="X-Hub-Signature", encoding="base64", secrets=["first", "second"]),
    scheme(scheme="standard-webhooks", secrets=[KEY, "whsec_c2Vjb25k"]),
]
every = pytest.mark.parametrize("settings_", EVERY, ids=[f"{one.scheme}-{number}" for number, one in enumerate(EVERY)])
_bodies = st.binary(min_size=1, max_size=60)


def rotated(settings: Verification) -> Verification:
    """The same scheme with its secrets the other way round: `sign` uses the first."""
    return settings.model_copy(update={"secrets": settings.secrets[::-1]})  # type: ignore[union-attr]


def stranger(settings: Verification) -> Verification:
    """The same scheme, and a secret that nobody gave."""
    other = {"basic": "user:third", "standard-webhooks": "whsec_dGhpcmQ="}.get(settings.scheme, "third")
    return scheme(**settings.model_dump(exclude={"secrets"}), secrets=[other])


def test_every_row_of_the_table_is_tried_here() -> None:
    assert {one.scheme for one in EVERY} == set(SCHEMES) - {"none"}


@every
@settings(max_examples=25)
@given(body=_bodies)
def test_what_sign_makes_is_verified_under_either_secret_and_a_strangers_is_not(settings_: Verification, body: bytes) -> None:
    for known in (settings_, rotated(settings_)):
        assert verified([settings_], evidence(sign(known, body, "msg_1", NOW), body), NOW)
    assert not verified([settings_], evidence(sign(stranger(settings_), body, "msg_1", NOW), body), NOW)


@pytest.mark.parametrize(
    "settings_", [one for one in EVERY if one.scheme not in {"token", "basic"}], ids=lambda one: f"{one.scheme}-{EVERY.index(one)}"
)
@settings(max_examples=25)
@given(body=_bodies, data=st.data())
def test_one_changed_bit_of_the_body_is_refused(settings_: Verification, body: bytes, data: st.DataObject) -> None:
    proof = sign(settings_, body, "msg_1", NOW)
    at, bit = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 7))
    changed = body[:at] + bytes([body[at] ^ (1 << bit)]) + body[at + 1 :]

    assert not verified([settings_], evidence(proof, changed), NOW)


@every
@settings(max_examples=25)
@given(data=st.data())
def test_one_changed_character_of_any_part_of_the_proof_is_refused(settings_: Verification, data: st.DataObject) -> None:
    proof = sign(settings_, b"{}", "msg_1", NOW)
    name, value = data.draw(st.sampled_from([*proof.headers.items(), *proof.query.items()]))
    at = data.draw(st.integers(0, len(value) - 1))
    changed = {name: value[:at] + ("0" if value[at] != "0" else "1") + value[at + 1 :]}
    forged = Proof({**proof.headers, **changed}, {}) if name in proof.headers else Proof({}, changed)

    assert verified([settings_], evidence(proof, b"{}"), NOW)
    assert not verified([settings_], evidence(forged, b"{}"), NOW)


@every
def test_an_absent_or_empty_proof_is_refused(settings_: Verification) -> None:
    proof = sign(settings_, b"{}", "msg_1", NOW)

    assert not verified([settings_], Evidence({}, {}, b"{}"), NOW)
    assert not verified([settings_], Evidence(dict.fromkeys(map(str.lower, proof.headers), ""), dict.fromkeys(proof.query, ""), b"{}"), NOW)


_names = st.sampled_from(
    ["x-sig", "x-time", "x-token", "x-hub-signature", "authorization", "webhook-id", "webhook-timestamp", "webhook-signature"]
)
_values = (
    st.text(st.characters(codec="latin-1"), max_size=40)
    | st.sampled_from(
        ["v1,", "v1", "sha256=", "sha512=", "Basic", "Basic ", "Basic é", "²", "1" * 400, "٣", "-1", "1e9", "\udcff", "\ud800"]
    )
    | st.just(str(int(NOW.timestamp())))
)


@every
@pytest.mark.parametrize("value", ["\ud800", "é", "²", "\0", " ", "v1,\ud800", "Basic \ud800"], ids=ascii)
def test_a_proof_that_is_no_text_is_refused_and_no_error(settings_: Verification, value: str) -> None:
    proof = sign(settings_, b"{}", "msg_1", NOW)
    for name in [*proof.headers, *proof.query]:
        one = evidence(proof, b"{}")
        headers, query = {**one.headers, name.lower(): value}, {**one.query, name: value}

        assert not verified([settings_], Evidence(headers, query, b"{}"), NOW)


@every
@settings(max_examples=60)
@given(headers=st.dictionaries(_names, _values), query=st.dictionaries(st.sampled_from(["token", ""]), _values), body=_bodies)
def test_no_headers_and_no_query_make_verification_pass_or_fail_with_an_error(
    settings_: Verification, headers: dict[str, str], query: dict[str, str], body: bytes
) -> None:
    assert verified([settings_], Evidence(headers, query, body), NOW) is False


@pytest.mark.parametrize(
    "settings_", [EVERY[5], EVERY[8], scheme(scheme="hmac", header="X-Sig", timestamp_header="X-Time", tolerance=5, secrets=["s"])], ids=str
)
@pytest.mark.parametrize("sign_", [1, -1], ids=["late", "early"])
def test_a_timestamp_may_be_off_by_the_tolerance_and_no_more_either_way(settings_: Any, sign_: int) -> None:
    tolerance = settings_.tolerance
    proof = evidence(sign(settings_, b"{}", "msg_1", NOW), b"{}")

    assert verified([settings_], proof, NOW + timedelta(seconds=sign_ * tolerance))
    assert not verified([settings_], proof, NOW + timedelta(seconds=sign_ * (tolerance + 1)))


def test_a_timestamp_is_part_of_what_is_signed() -> None:
    settings_ = scheme(scheme="hmac", header="X-Sig", timestamp_header="X-Time", secrets=["s"])
    at = str(int(NOW.timestamp()))
    digest = hmac.new(b"s", at.encode() + b".{}", hashlib.sha256).hexdigest()

    assert holds(settings_, {"x-sig": digest, "x-time": at}, b"{}")
    assert not holds(settings_, {"x-sig": digest, "x-time": str(int(at) + 1)}, b"{}")
    assert not holds(settings_, {"x-sig": digest}, b"{}")


def test_any_scheme_of_a_list_is_enough_and_an_empty_list_is_never() -> None:
    for one in EVERY:
        assert verified(EVERY, evidence(sign(one, b"{}", "msg_1", NOW), b"{}"), NOW)
    assert not verified(EVERY, Evidence({}, {}, b"{}"), NOW)
    assert not verified([], Evidence({}, {}, b"{}"), NOW)


def test_none_believes_anybody_and_adds_nothing() -> None:
    anybody = scheme(scheme="none")

    assert verified([anybody], Evidence({}, {}, b""), NOW)
    assert sign(anybody, b"", "msg_1", NOW) == Proof()


def test_what_is_the_same_in_every_request_is_known_for_each_secret_and_of_no_scheme_that_signs() -> None:
    found = credentials(
        [
            scheme(scheme="token", query="token", secrets=["a", "b"]),
            scheme(scheme="basic", secrets=["u:p"]),
            scheme(scheme="hmac", header="X-Sig", secrets=["a"]),
            scheme(scheme="none"),
        ]
    )

    assert list(found) == [Proof(query={"token": "a"}), Proof(query={"token": "b"}), Proof(headers={"Authorization": "Basic dTpw"})]
