"""The refusals, each an HTTP status and a sentence (RFC 9457).

Refusal
├── UnknownSource        404
├── NotPost              405
├── SlowBody             408
├── BodyTooLarge         413
├── EncodedBody          415
├── SenderNotAllowed     403
├── NotVerified          401
└── Unavailable          503, with Retry-After
    ├── Overloaded
    └── NotDurable
"""

from typing import ClassVar

PROBLEM_TYPE = "application/problem+json"


class Refusal(Exception):
    """A request that is not accepted; the class' docstring is what the sender reads."""

    status: ClassVar[int]
    title: ClassVar[str]
    headers: ClassVar[dict[str, str]] = {}

    @property
    def problem(self) -> dict[str, object]:
        """The problem details object of RFC 9457."""
        return {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.__doc__}


class UnknownSource(Refusal):
    """No source of this name is configured here."""

    status, title = 404, "Not Found"


class NotPost(Refusal):
    """Webhooks are sent with POST."""

    status, title, headers = 405, "Method Not Allowed", {"Allow": "POST"}


class SlowBody(Refusal):
    """The body did not arrive in time."""

    status, title, headers = 408, "Request Timeout", {"Connection": "close"}


class BodyTooLarge(Refusal):
    """The body is larger than this source may send."""

    status, title, headers = 413, "Content Too Large", {"Connection": "close"}


class EncodedBody(Refusal):
    """The body must be sent as it is, without a Content-Encoding."""

    status, title = 415, "Unsupported Media Type"


class SenderNotAllowed(Refusal):
    """This source does not send from this address."""

    status, title = 403, "Forbidden"


class NotVerified(Refusal):
    """The request could not be verified."""

    status, title = 401, "Unauthorized"


class Unavailable(Refusal):
    """Nothing is wrong with the request; send it again later."""

    status, title, headers = 503, "Service Unavailable", {"Retry-After": "10"}


class Overloaded(Unavailable):
    """Too many requests are under way; send it again shortly."""

    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class NotDurable(Unavailable):
    """The delivery could not be made durable; send it again later."""
