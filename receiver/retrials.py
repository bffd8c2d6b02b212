"""A second look at what failed verification, with the settings of today: `muster rejected verify`.

What a secret vouches for now goes the way of every request, through the receiver's own intake, as if it had only now been
looked at: its age is judged at its arrival, and the delivery keeps the id and the time that it was rejected under.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace

from receiver.errors import Refusal, UnknownSource
from receiver.intake import accept
from receiver.masks import unmasked
from receiver.publisher import Keeper
from receiver.rejects import Rejected
from receiver.sources import Source
from receiver.spool import Spooled
from schemas.delivery import Delivery, encode
from schemas.settings import Network
from schemas.verification import Unverified


@dataclass(frozen=True, slots=True)
class Court:
    """What a rejected request is judged by."""

    key: bytes
    sources: Mapping[str, Source]
    proxies: tuple[Network, ...]

    def judge(self, rejected: Rejected) -> Delivery:
        """The delivery that it would have been; raises the Refusal that still holds.

        A source that asks for no proof believes what comes from now on, not what was refused before.
        """
        source = self.sources.get(rejected.source)
        if source is None:
            raise UnknownSource
        asking = replace(source, verify=tuple(one for one in source.verify if not isinstance(one, Unverified)))
        delivery = accept(asking, self.proxies, unmasked(self.key, asking, rejected.request), rejected.at)
        return delivery.model_copy(update={"id": rejected.id})


async def retried(court: Court, kept: Iterable[Rejected], keeper: Keeper | None) -> AsyncIterator[tuple[Rejected, Refusal | None]]:
    """Judge each again; what passes is durable with `keeper` before it is told, unless there is none. Raises SpoolFull."""
    for one in kept:
        try:
            delivery = court.judge(one)
        except Refusal as refusal:
            yield one, refusal
            continue
        if keeper is not None:
            await keeper.keep(Spooled(delivery.vendor, delivery.source, encode(delivery)))
        yield one, None
