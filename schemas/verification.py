"""How a source proves that it is the vendor: the settings of each scheme. `receiver/signatures.py` computes them."""

import base64
import binascii
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

Algorithm = Literal["sha1", "sha256", "sha512"]
Encoding = Literal["hex", "base64"]
Name = Annotated[str, Field(min_length=1)]


class _Scheme(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class _SecretScheme(_Scheme):
    """A scheme with shared secrets: any of them passes, so that one can be rotated while both are known."""

    secrets: Annotated[tuple[SecretStr, ...], Field(min_length=1)]
    #: Only bodies that name one of these events are let in; none named: every body.
    events: tuple[Name, ...] = ()

    @field_validator("secrets")
    @classmethod
    def _none_is_empty(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(secret.get_secret_value().strip() in {"", ":", "whsec_"} for secret in secrets):
            raise ValueError("an empty secret would let anybody in; remove it")
        return secrets


class Token(_SecretScheme):
    """A shared token in a header or in the address' query string."""

    scheme: Literal["token"]
    header: Name | None = None
    query: Name | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.header is None) == (self.query is None):
            raise ValueError("say where the token stands: either header or query, not both")
        return self


class Basic(_SecretScheme):
    """HTTP Basic authentication (RFC 7617); each secret is `user:password`."""

    scheme: Literal["basic"]

    @field_validator("secrets")
    @classmethod
    def _user_and_password(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(":" not in secret.get_secret_value() for secret in secrets):
            raise ValueError("a secret of scheme basic is written user:password")
        return secrets


class Hmac(_SecretScheme):
    """HMAC (RFC 2104) over the raw body, or over `timestamp.body` where a timestamp header is named."""

    scheme: Literal["hmac"]
    header: Name
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""
    timestamp_header: Name | None = None
    tolerance: Annotated[float, Field(gt=0, description="Seconds that the timestamp may be off, either way.")] = 300.0


class Sha256Concat(_SecretScheme):
    """SHA-256 over body followed by secret, a plain hash as iSpring Learn documents it; an optional prefix is stripped."""

    scheme: Literal["sha256-concat"]
    header: Name
    encoding: Encoding = "hex"
    prefix: str = "sha256="


class StandardWebhooks(_SecretScheme):
    """The Standard Webhooks specification, symmetric signatures (v1); secrets are `whsec_` and base64."""

    scheme: Literal["standard-webhooks"]
    tolerance: Annotated[float, Field(gt=0, description="Seconds that webhook-timestamp may be off, either way.")] = 300.0

    @field_validator("secrets")
    @classmethod
    def _base64_key(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in secrets:
            try:
                base64.b64decode(secret.get_secret_value().removeprefix("whsec_"), validate=True)
            except (binascii.Error, ValueError):
                raise ValueError("a secret of scheme standard-webhooks is whsec_ followed by base64") from None
        return secrets


class Unverified(_Scheme):
    """No verification: whoever knows the address is believed. Only when written out."""

    scheme: Literal["none"]


Verification = Annotated[Token | Basic | Hmac | Sha256Concat | StandardWebhooks | Unverified, Field(discriminator="scheme")]
