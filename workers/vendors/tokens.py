"""OAuth 2 access tokens: fetched once for everybody who waits, renewed before they expire, thrown away when they are refused."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jiter

from workers.vendors.errors import Complaint, Refused, Unavailable
from workers.vendors.http import Answer, Call, Http

#: How long a token is used whose answer says nothing of its life, in seconds.
UNSAID_LIFE = 60.0


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and when it must be renewed, by the event loop's clock."""

    value: str = field(repr=False)
    renew_at: float
    refresh: str | None = field(repr=False)


class Tokens:
    """The tokens of one login.

    `grant` makes the form of the first request (RFC 6749 §4.3.2, §4.4.2); a refresh token is used where one came. `forget` lets
    the grant read its files again: it is called where the login is refused, and what changed is tried once.
    """

    def __init__(
        self, http: Http, path: str, grant: Callable[[], Mapping[str, str]], early: float, forget: Callable[[], None] = lambda: None
    ) -> None:
        self._http, self._path, self._grant, self._early, self._forget = http, path, grant, early, forget
        self._token: Token | None = None
        self._lock = asyncio.Lock()

    async def current(self) -> str:
        """A token that is good for now; one fetch at a time, however many wait for it."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._token is None or now >= self._token.renew_at:
                self._token = await self._renewed(self._token)
            return self._token.value

    async def refused(self, value: str) -> None:
        """The vendor did not take this token: the next one is fetched anew."""
        async with self._lock:
            if self._token is not None and self._token.value == value:
                self._token = None
                self._forget()

    async def _renewed(self, old: Token | None) -> Token:
        if old is not None and old.refresh:
            form = {name: value for name, value in self._grant().items() if name.startswith("client_")}
            answer = await self._ask(form | {"grant_type": "refresh_token", "refresh_token": old.refresh})
            if answer.ok:
                return self._read(answer)
        return self._read(await self._logged_in())

    async def _logged_in(self) -> Answer:
        form = self._grant()
        answer = await self._ask(form)
        if not answer.ok:
            self._forget()
            again = self._grant()
            # The same once more would only count as another wrong password.
            answer = await self._ask(again) if again != form else answer
        if not answer.ok:
            raise Refused(answer.status, (Complaint("login", _reason(answer)),))
        return answer

    async def _ask(self, form: Mapping[str, str]) -> Answer:
        # Asking for a token twice does no harm: it is no write.
        return await self._http.call(Call("POST", self._path, form=form, headers={"Accept": "application/json"}))

    def _read(self, answer: Answer) -> Token:
        content = _object(answer)
        value, life = content.get("access_token"), content.get("expires_in")
        if not isinstance(value, str) or not value:
            raise Unavailable("the token endpoint's answer holds no access_token")
        seconds = float(life) if isinstance(life, int | float) and life > 0 else UNSAID_LIFE
        now = asyncio.get_running_loop().time()
        refresh = content.get("refresh_token")
        # A token that lives shorter than it should be renewed early is used for half its life.
        return Token(value, now + max(seconds - self._early, seconds / 2), refresh if isinstance(refresh, str) else None)


def _object(answer: Answer) -> dict[str, Any]:
    try:
        content = jiter.from_json(answer.body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _reason(answer: Answer) -> str:
    """The error code of RFC 6749 §5.2; the description may repeat what was sent, so it stays out."""
    code = _object(answer).get("error")
    return str(code)[:100] if isinstance(code, str) else f"the token endpoint answered {answer.status}"
