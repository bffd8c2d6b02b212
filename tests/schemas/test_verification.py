"""The schemes' settings: what would let anybody in, or nobody, is refused at the start."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.verification import Verification

_verification: TypeAdapter[Verification] = TypeAdapter(Verification)


@pytest.mark.parametrize(
    "settings",
    [
        {"scheme": "token", "query": "token", "secrets": ["s"]},
        {"scheme": "token", "header": "X-Token", "secrets": ["old", "new"]},
        {"scheme": "basic", "secrets": ["user:pass:word"]},
        {"scheme": "basic", "secrets": ["key:"]},
        {"scheme": "hmac", "header": "X-Signature", "secrets": ["s"]},
        {
            "scheme": "hmac",
            "header": "h",
            "algorithm": "sha512",
            "encoding": "base64",
            "prefix": "v0=",
            "timestamp_header": "t",
            "secrets": ["s"],
        },
        {"scheme": "sha256-concat", "header": "X-Hub-Signature", "secrets": ["s"]},
        {"scheme": "standard-webhooks", "secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "c2VjcmV0"]},
        {"scheme": "token", "query": "token", "secrets": ["s"], "events": ["CONFIRMATION"]},
        {"scheme": "none"},
    ],
    ids=str,
)
def test_what_the_schemes_need_is_accepted(settings: dict[str, Any]) -> None:
    assert _verification.validate_python(settings).scheme == settings["scheme"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scheme": "token", "secrets": ["s"]}, "either header or query"),
        ({"scheme": "token", "header": "h", "query": "q", "secrets": ["s"]}, "either header or query"),
        ({"scheme": "token", "header": "", "secrets": ["s"]}, "at least 1"),
        ({"scheme": "token", "query": "", "secrets": ["s"]}, "at least 1"),
        ({"scheme": "token", "query": "token"}, "required"),
        ({"scheme": "token", "query": "token", "secrets": []}, "at least 1"),
        ({"scheme": "token", "query": "token", "secrets": ["s", " "]}, "let anybody in"),
        ({"scheme": "basic", "secrets": ["no-colon"]}, "user:password"),
        ({"scheme": "basic", "secrets": [":"]}, "let anybody in"),
        ({"scheme": "hmac", "secrets": ["s"]}, "required"),
        ({"scheme": "hmac", "header": "", "secrets": ["s"]}, "at least 1"),
        ({"scheme": "hmac", "header": "h", "algorithm": "md5", "secrets": ["s"]}, "sha1"),
        ({"scheme": "hmac", "header": "h", "tolerance": 0, "secrets": ["s"]}, "greater than 0"),
        ({"scheme": "hmac", "header": "h", "timestamp_header": "", "secrets": ["s"]}, "at least 1"),
        ({"scheme": "sha256-concat", "secrets": ["s"]}, "required"),
        ({"scheme": "standard-webhooks", "secrets": ["whsec_not base64"]}, "followed by base64"),
        ({"scheme": "standard-webhooks", "secrets": ["whsec_"]}, "let anybody in"),
        ({"scheme": "standard-webhooks", "secrets": ["whsec_c2VjcmV0"], "tolerance": -1}, "greater than 0"),
        ({"scheme": "none", "secrets": ["s"]}, "not permitted"),
        ({"scheme": "none", "events": ["CONFIRMATION"]}, "not permitted"),
        ({"scheme": "token", "query": "token", "secrets": ["s"], "events": [""]}, "at least 1"),
        ({"scheme": "hmac", "header": "h", "algoritm": "sha1", "secrets": ["s"]}, "not permitted"),
        ({"scheme": "md5", "secrets": ["s"]}, "does not match any"),
        ({"secrets": ["s"]}, "discriminator"),
    ],
    ids=str,
)
def test_what_would_let_anybody_or_nobody_in_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        _verification.validate_python(settings)
