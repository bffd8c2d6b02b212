"""CERTIFICATE_ACTION::CREATE, ::UPDATE and ::DELETE: a certificate covers an action, or no more. That is what turns a subscription VALID.

The body does not say whose the certificate is: the certificate tells.
"""

from typing import Any

from schemas.accounts import Account
from schemas.delivery import Delivery
from schemas.fourhse import CertificateActionBody
from schemas.states import RefreshKind
from workers.handlers.bare import touching
from workers.handlers.outcomes import Outcome


def changed(delivery: Delivery, body: Any, account: Account | None) -> Outcome:
    """Any of the three."""
    return touching(delivery, body, account, CertificateActionBody, _touched)


def _touched(link: CertificateActionBody) -> tuple[RefreshKind, str, str]:
    return RefreshKind.CERTIFICATE, link.certificate_id, link.action_id or ""
