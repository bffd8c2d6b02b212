"""Webhooks as a vendor might send them, in every order, and what the mirror is to hold once it was told all of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from schemas.delivery import Delivery
from schemas.samples import SUBSCRIPTION
from tests.workers.made import CREATE, DELETE, NOON, delivery


@dataclass(frozen=True)
class Said:
    """One webhook; `note` makes bodies of one subscription differ."""

    subject: int
    event: str
    second: int
    note: int

    def sent(self, account: str) -> Delivery:
        body = SUBSCRIPTION | {"action_subscription_id": f"s{self.subject}", "data": {"note": self.note}}
        return delivery(body, self.event, account=account, received_at=NOON + timedelta(seconds=self.second))


anything_said = st.builds(Said, st.integers(0, 2), st.sampled_from([CREATE, DELETE]), st.integers(0, 2), st.integers(0, 1))


def expected(deliveries: Sequence[Delivery]) -> dict[str, tuple[str, Any, Any, str]]:
    """The model: of everything said about a subscription, the strongest."""
    strongest: dict[str, tuple[Any, ...]] = {}
    for one in deliveries:
        body = json.loads(one.body)
        strength = (one.event == DELETE, one.received_at, one.fingerprint)
        subject = body["action_subscription_id"]
        strongest[subject] = max(strongest.get(subject, (False,)), (*strength, json.dumps(body["data"])), key=lambda found: found[:3])
    return {
        subject: ("deleted" if gone else "live", json.loads(data), at, fingerprint)
        for subject, (gone, at, fingerprint, data) in strongest.items()
    }
