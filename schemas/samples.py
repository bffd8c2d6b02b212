"""Sample bodies for `muster trigger` and `muster demo`: the examples of the vendors' own documents."""

import json
from collections.abc import Mapping
from typing import Any

#: 4HSE, "ActionSubscription", webhooks: the same example stands under CREATE and DELETE.
SUBSCRIPTION = {
    "action_subscription_id": "d5e6f7a8-b9c0-1d2e-3f4a-5b6c7d8e9f0a",
    "action_id": "c4d5e6f7-a8b9-0c1d-2e3f-4a5b6c7d8e9f",
    "subscriber_id": "e3a1f5d2-8c4b-4e7a-9f6d-2b1c3d4e5f6a",
    "subscriber_type": "PERSON",
    "subtenant_id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    "tenant_id": "b5a7d602-3fc9-4e2a-9d1a-6e5b4c8f7a01",
}

#: 4HSE, "ActionSubscription", index: the same entry with everything that the schedule knows of it.
SUBSCRIPTION_IN_FULL = SUBSCRIPTION | {
    "action_type": "TRAINING",
    "action_code": "FST-01",
    "action_name": "Fire Safety Training Medium Risk",
    "subscriber_code": "JS001",
    "subscriber_name": "Smith John",
    "status": "EXPIRED",
    "last_certificate_id": "f6a7b8c9-d0e1-2f3a-4b5c-6d7e8f9a0b1c",
    "certificate_date_release": "2020-01-15",
    "certificate_date_expire": "2025-01-15",
    "office_name": "Rome North Site",
    "project_name": "Acme Construction Ltd",
    "project_type": "safety",
    "owned_active": True,
    "parent_active": True,
}

#: 4HSE's other webhooks: it prints no bodies of theirs, but a body is the bare resource; these are of the same person and action.
PERSON = {
    "person_id": SUBSCRIPTION["subscriber_id"],
    "first_name": "John",
    "last_name": "Smith",
    "birth_date": "1980-02-29",
    "code": "JS001",
    "project_id": SUBSCRIPTION["tenant_id"],
}
CERTIFICATE = {
    "certificate_id": "f6a7b8c9-d0e1-2f3a-4b5c-6d7e8f9a0b1c",
    "action_type": "TRAINING",
    "name": "Fire Safety Training Medium Risk",
    "date_release": "2020-01-15",
    "date_expire": "2025-01-15",
    "resource_id": SUBSCRIPTION["subscriber_id"],
    "tenant_id": SUBSCRIPTION["tenant_id"],
}
CERTIFICATE_ACTION = {
    "certificate_action_id": "a7b8c9d0-e1f2-4a3b-8c5d-6e7f8a9b0c1d",
    "certificate_id": CERTIFICATE["certificate_id"],
    "action_id": SUBSCRIPTION["action_id"],
    "tenant_id": SUBSCRIPTION["tenant_id"],
}
_FOURHSE = {"PERSON": PERSON, "CERTIFICATE": CERTIFICATE, "CERTIFICATE_ACTION": CERTIFICATE_ACTION}

#: aNewSpring publishes no webhook body; `event` and `created` are documented, the rest has the shape of getResults.
COURSE_COMPLETED = {
    "event": "course_completed",
    "created": "2020-02-13T16:23:55Z",
    "course": {"id": "EXAMPLECOURSE-0001", "completed": True, "completeDateTime": "2020-02-13T16:23:55Z", "grade": "67%"},
    "learner": {"id": "JS001"},
}

#: The same of an activity.
ACTIVITY_COMPLETED = {
    "event": "activity_completed",
    "created": "2020-02-13T16:23:55Z",
    "activity": {"id": "EXAMPLEEXAM-0001", "type": "Assessment", "completed": True, "passed": True, "score": "67%"},
    "course": {"id": "EXAMPLECOURSE-0001"},
    "learner": {"id": "JS001"},
}

_LEARNER, _COURSE = "5f0c2a44-1111-4c3e-9d5b-0a1b2c3d4e5f", "3fa85f64-5717-4562-b3fc-2c963f66afa6"

#: iSpring Learn's envelope: a type and consecutive events of it; the hand-shake's payload is a JSON string.
_ISPRING: Mapping[str, list[Any]] = {
    "CONFIRMATION": [json.dumps({"code": "1759b14e-d387-11ed-88a2-42349c105193"})],
    "COURSE_COMPLETED_SUCCESSFULLY": [
        {"courseId": _COURSE, "learnerId": _LEARNER, "enrollmentIds": [_COURSE], "completionDate": 1_722_902_269_000_000_000}
    ],
    "LEARNERS_ENROLLED_IN_COURSE": [{"courseId": _COURSE, "learnerIds": [_LEARNER]}],
    "USER_REGISTERED": [{"userId": _LEARNER, "departmentId": _COURSE, "login": "jsmith", "email": None}],
}

#: (vendor, event) to a body.
SAMPLES: Mapping[tuple[str, str], Any] = {
    ("4hse", "ACTION_SUBSCRIPTION::CREATE"): SUBSCRIPTION,
    ("4hse", "ACTION_SUBSCRIPTION::DELETE"): SUBSCRIPTION,
    **{("4hse", f"{noun}::{verb}"): body for noun, body in _FOURHSE.items() for verb in ("CREATE", "UPDATE", "DELETE")},
    ("anewspring", "course_completed"): COURSE_COMPLETED,
    ("anewspring", "activity_completed"): ACTIVITY_COMPLETED,
    **{("ispring", event): {"type": event, "payloads": payloads} for event, payloads in _ISPRING.items()},
}


def body(vendor: str, event: str) -> bytes | None:
    """The sample's bytes, or None where the vendor documents none for this event."""
    sample = SAMPLES.get((vendor, event))
    return None if sample is None else json.dumps(sample).encode()
