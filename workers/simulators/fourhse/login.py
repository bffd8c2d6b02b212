"""The Keycloak before 4HSE: password and refresh_token grants, tokens that expire; and 4HSE's API keys."""

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

PATH = "/realms/4hse/protocol/openid-connect/token"


class Keycloak:
    """One realm with one client and its users."""

    def __init__(
        self,
        users: Mapping[str, str],
        *,
        client_id: str = "muster",
        client_secret: str | None = None,
        keys: set[str] | None = None,
        lifetime: float = 300.0,
        refresh_lifetime: float = 1800.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.users, self.client_id, self.client_secret = dict(users), client_id, client_secret
        #: What `?access-token=` may be.
        self.keys = keys or set()
        self.lifetime, self.refresh_lifetime, self.now = lifetime, refresh_lifetime, now
        #: The grant types of the requests that were answered with a token, and the tokens.
        self.granted: list[str] = []
        self.issued: list[str] = []
        self._access: dict[str, datetime] = {}
        self._refresh: dict[str, datetime] = {}

    def admits(self, request: Request) -> bool:
        """Whether a request carries a token or a key that is good now."""
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return self._good(self._access, bearer) or request.query_params.get("access-token") in self.keys

    def revoke(self, *, refresh: bool = False) -> None:
        """End every access token now, and every refresh token if asked."""
        self._access.clear()
        if refresh:
            self._refresh.clear()

    async def token(self, request: Request) -> Response:
        """The token endpoint (RFC 6749 §3.2), with Keycloak's statuses and words."""
        form = dict(parse_qsl((await request.body()).decode()))
        if form.get("client_id") != self.client_id or (self.client_secret and form.get("client_secret") != self.client_secret):
            return _error(401, "invalid_client", "Invalid client or Invalid client credentials")
        match form.get("grant_type"):
            case "password":
                return self._by_password(form)
            case "refresh_token":
                return self._by_refresh(form.get("refresh_token", ""))
        return _error(400, "unsupported_grant_type", "Unsupported grant_type")

    def _by_password(self, form: Mapping[str, str]) -> Response:
        known = self.users.get(form.get("username", ""))
        if known is None or known != form.get("password"):
            return _error(401, "invalid_grant", "Invalid user credentials")
        return self._issue("password")

    def _by_refresh(self, token: str) -> Response:
        if not self._good(self._refresh, token):
            return _error(400, "invalid_grant", "Token is not active")
        del self._refresh[token]
        return self._issue("refresh_token")

    def _issue(self, grant: str) -> Response:
        access, refresh = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self._access[access] = self.now() + timedelta(seconds=self.lifetime)
        self._refresh[refresh] = self.now() + timedelta(seconds=self.refresh_lifetime)
        self.granted.append(grant)
        self.issued += [access, refresh]
        content = {
            "access_token": access,
            "expires_in": self.lifetime,
            "refresh_token": refresh,
            "refresh_expires_in": self.refresh_lifetime,
        }
        return JSONResponse(content | {"token_type": "Bearer", "not-before-policy": 0, "scope": "openid profile email"})

    def _good(self, tokens: Mapping[str, datetime], token: str) -> bool:
        return token in tokens and self.now() < tokens[token]


def _error(status: int, error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description}, status)
