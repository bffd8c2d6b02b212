"""A compliance schedule as 4HSE's index shows it: rows known by their number, in the order of their ids, which are random."""

from datetime import date
from typing import Any

from tests.bench.deliveries import ACCOUNT, subject

OFFICE, TENANT = "a1b2c3d4-e5f6-7890-abcd-ef1234567890", "b5a7d602-3fc9-4e2a-9d1a-6e5b4c8f7a01"
DATES = ("certificate_date_release", "certificate_date_expire", "last_session_date")
_STATUSES = ("NEW", "VALID", "VALID", "VALID", "EXPIRING", "EXPIRED")


def ids(count: int, first: int = 1) -> list[str]:
    """So many ids, sorted."""
    return sorted(subject(number) for number in range(first, first + count))


def row(number: int, id_: str) -> dict[str, Any]:
    """A row with every field that the index gives."""
    status = _STATUSES[number % len(_STATUSES)]
    known = status != "NEW"
    return {
        "action_subscription_id": id_,
        "action_id": f"c4d5e6f7-a8b9-0c1d-2e3f-{number % 500:012d}",
        "subscriber_id": f"e3a1f5d2-8c4b-4e7a-9f6d-{number // 10:012d}",
        "subscriber_type": "PERSON",
        "subtenant_id": OFFICE,
        "tenant_id": TENANT,
        "data": None,
        "action_type": "TRAINING",
        "action_code": f"FST-{number % 500:03d}",
        "action_name": "Fire Safety Training Medium Risk",
        "subscriber_code": f"JS{number // 10:06d}",
        "subscriber_name": f"Smith {number // 10}",
        "status": status,
        "last_certificate_id": f"f6a7b8c9-d0e1-2345-fabc-{number:012d}" if known else None,
        "certificate_date_release": f"2024-03-{number % 28 + 1:02d}" if known else None,
        "certificate_date_expire": f"2029-03-{number % 28 + 1:02d}" if known else None,
        "office_name": "Rome North Site",
        "project_name": "Acme Construction Ltd",
        "project_type": "safety",
        "owned_active": True,
        "parent_active": True,
        "last_action_session_subscription_id": f"d3e4f5a6-b7c8-9012-defg-{number:012d}" if known else None,
        "last_session_date": f"2024-03-{number % 28 + 1:02d}" if known else None,
        "project_status": "ACTIVE",
        "project_subscription_status": "PAID",
        "certificate_action_approvals": 0,
        "manager": [{"person_id": f"e3a1f5d2-8c4b-4e7a-9f6d-{number % 50:012d}"}],
        "assignee": None,
        "watcher": None,
    }


def mirrored(number: int, id_: str, columns: tuple[str, ...], constant: dict[str, Any]) -> tuple[Any, ...]:
    """The same row as the mirror's table takes it in a COPY; `constant`: columns that the index does not have."""
    shown = row(number, id_) | {"account": ACCOUNT, "state": "live", "flags": "[]", "certificate_action_approvals": "0"} | constant
    shown["manager"] = f'[{{"person_id": "{shown["manager"][0]["person_id"]}"}}]'
    for name in DATES:
        shown[name] = date.fromisoformat(shown[name]) if shown[name] else None
    return tuple(shown[name] for name in columns)
