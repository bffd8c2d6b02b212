"""How 4HSE knows us: an OAuth 2 bearer token, or an access token in the query string."""

from dataclasses import replace
from typing import Protocol
from urllib.parse import urlsplit

from schemas.accounts import FourhseAccount, Login
from workers.vendors.credentials import Credential
from workers.vendors.http import Call, Http
from workers.vendors.tokens import Tokens


class Authorization(Protocol):
    """What makes a call ours."""

    async def sign(self, call: Call) -> Call:
        """The call with its credential."""

    async def refused(self, call: Call) -> None:
        """The vendor answered 401 to this call: find another credential for the next."""


class PasswordGrant:
    """`Authorization: Bearer`, from the password flow (RFC 6749 §4.3)."""

    def __init__(self, login: Login, http: Http) -> None:
        self._login = login
        self._password = Credential("login.password_file", login.password_file)
        self._secret = Credential("login.client_secret_file", login.client_secret_file) if login.client_secret_file else None
        self._tokens = Tokens(http, urlsplit(str(login.token_url)).path, self._form, login.early, self._forget)

    async def sign(self, call: Call) -> Call:
        """Add the bearer token."""
        token = await self._tokens.current()
        return replace(call, headers={**(call.headers or {}), "Authorization": f"Bearer {token}"})

    async def refused(self, call: Call) -> None:
        """Log in anew, with the files as they are now."""
        await self._tokens.refused((call.headers or {})["Authorization"].removeprefix("Bearer "))

    def _forget(self) -> None:
        self._password.forget()
        if self._secret:
            self._secret.forget()

    def _form(self) -> dict[str, str]:
        form = {"grant_type": "password", "client_id": self._login.client_id}
        form |= {"username": self._login.username, "password": self._password.read()}
        return form | ({"client_secret": self._secret.read()} if self._secret else {})


class AccessToken:
    """`?access-token=`, 4HSE's API key."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    async def sign(self, call: Call) -> Call:
        """Add the query parameter."""
        return replace(call, params={**(call.params or {}), "access-token": self._credential.read()})

    async def refused(self, _: Call) -> None:
        """Read the file again."""
        self._credential.forget()


def authorization(account: FourhseAccount, token_http: Http | None) -> Authorization:
    """The account's way to log in; `token_http` goes to the token endpoint's host."""
    if account.login is not None and token_http is not None:
        return PasswordGrant(account.login, token_http)
    assert account.access_token_file is not None
    return AccessToken(Credential("access_token_file", account.access_token_file))
