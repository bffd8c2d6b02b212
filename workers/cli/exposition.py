"""The metrics of one process, as Prometheus asks for them: for receive, work, serve and demo."""

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import choose_encoder


class Exposition:
    """A registry of its own, and who has to be asked before it is read."""

    def __init__(self) -> None:
        # When each series was first counted, in as many series again, and no query of anybody's.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._looks: list[Callable[[], Awaitable[None]]] = []

    def before(self, look: Callable[[], Awaitable[None]]) -> None:
        """Have this done before each scrape is answered."""
        self._looks.append(look)

    async def __call__(self, accept: str) -> tuple[bytes, str]:
        """The metrics in the format that an Accept header asks for, and their content type."""
        await asyncio.gather(*(look() for look in self._looks))
        encode, kind = choose_encoder(accept)
        return encode(self.registry), kind
