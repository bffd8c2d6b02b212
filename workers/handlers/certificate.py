"""CERTIFICATE::CREATE, ::UPDATE and ::DELETE touch every subscription of the certificate's holder."""

from typing import Any

from schemas.accounts import Account
from schemas.delivery import Delivery
from schemas.fourhse import CertificateBody
from schemas.states import RefreshKind
from workers.handlers.bare import touching
from workers.handlers.outcomes import Outcome


def changed(delivery: Delivery, body: Any, account: Account | None) -> Outcome:
    """Any of the three."""
    return touching(delivery, body, account, CertificateBody, _touched)


def _touched(certificate: CertificateBody) -> tuple[RefreshKind, str, str]:
    if certificate.resource_id is None:
        return RefreshKind.CERTIFICATE, certificate.certificate_id, ""
    return RefreshKind.SUBSCRIBER, certificate.resource_id, ""
