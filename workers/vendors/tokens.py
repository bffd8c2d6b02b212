"""OAuth 2 access tokens: fetched once for everybody who waits, renewed before they expire, thrown away when they are refused.

Credentials that are wrong are sent seldom: a vendor counts wrong passwords, and locks the account out.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jiter

from workers.vendors.errors import Complaint, Refused, Unavailable
from workers.vendors.http import Answer, Call, Http

#: How long a token is used whose answer says nothing of its life, in seconds.
UNSAID_LIFE = 60.0

#: What a login is answered whose credentials are wrong (RFC 6749 §5.2), or not wanted.
_WRONG = frozenset({400, 401, 403})


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds for which credentials that were refused are not sent again, twice as many each time."""

    first: float = 60.0
    longest: float = 3600.0


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and when it must be renewed, by the event loop's clock."""

    value: str = field(repr=False)
    renew_at: float
    refresh: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A login that was refused, and until when it is not tried again as it was."""

    form: Mapping[str, str] = field(repr=False)
    status: int
    reason: str
    pause: float
    until: float


class Tokens:
    """The tokens of one login.

    `grant` makes the form of the first request (RFC 6749 §4.3.2, §4.4.2); a refresh token is used where one came. `forget` lets
    the grant read its files again: it is called where the login is refused, and what changed is tried at once; what did not, when
    the pause is over.
    """

    def __init__(
        self,
        http: Http,
        path: str,
        grant: Callable[[], Mapping[str, str]],
        early: float,
        forget: Callable[[], None] = lambda: None,
        pauses: Pauses = Pauses(),
    ) -> None:
        self._http, self._path, self._grant, self._early, self._forget, self._pauses = http, path, grant, early, forget, pauses
        self._token: Token | None = None
        self._refusal: _Refusal | None = None
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
        form = self._allowed()
        answer = await self._ask(form)
        if answer.status in _WRONG:
            self._forget()
            again = self._grant()
            # The same once more would only count as another wrong password.
            form, answer = (again, await self._ask(again)) if again != form else (form, answer)
        if not answer.ok:
            raise self._noted(form, answer)
        self._refusal = None
        return answer

    def _allowed(self) -> Mapping[str, str]:
        """What to log in with; raises Refused while that is what was refused last."""
        refusal = self._refusal
        if refusal is None:
            return self._grant()
        self._forget()
        form, left = self._grant(), refusal.until - asyncio.get_running_loop().time()
        if form == refusal.form and left > 0:
            raise Refused(refusal.status, (Complaint("login", f"{refusal.reason}; the same is not sent again for {left:.0f} s"),))
        return form

    def _noted(self, form: Mapping[str, str], answer: Answer) -> Refused:
        reason = _reason(answer)
        if answer.status in _WRONG:
            pause = min(self._refusal.pause * 2, self._pauses.longest) if self._refusal else self._pauses.first
            self._refusal = _Refusal(form, answer.status, reason, pause, asyncio.get_running_loop().time() + pause)
        return Refused(answer.status, (Complaint("login", reason),))

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
