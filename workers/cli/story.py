"""The story that `muster demo` tells: what happens at the vendors, and what muster's rows then say, and why."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas import samples
from schemas.delivery import now_utc
from schemas.settings import Settings

if TYPE_CHECKING:  # the simulated vendors take a while to import, and `--help` needs none of them
    from workers.cli.worker_side import Worker
    from workers.followups.tables import Need
    from workers.mirror.tables import ActionSubscription
    from workers.simulators.acme import Acme

SECRET = "c2VjcmV0IG9mIHRoZSBkZW1vbnN0cmF0aW9u"  # noqa: S105 - of a receiver that lives for a minute on this machine
SOURCES = {
    "hse": {"vendor": "4hse", "account": "hse", "verify": {"secrets": [SECRET]}},
    "lms": {"vendor": "anewspring", "account": "lms", "verify": {"secrets": [SECRET]}},
}


class Calendar:
    """The time in the demonstration, which may pass faster."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return now_utc() + self.ahead


@dataclass(frozen=True, slots=True)
class Scene:
    """What a step has at hand."""

    acme: "Acme"
    settings: Settings
    url: str
    worker: "Worker"
    calendar: Calendar

    async def post(self, body: Mapping[str, Any], event: str, *, secret: str = SECRET) -> int:
        """Send muster a webhook of 4HSE's, which 4HSE itself does not send; gives the answer's status."""
        from workers.cli.sending import send

        source = type(self.settings.sources["hse"]).model_validate(SOURCES["hse"] | {"verify": {"secrets": [secret]}})
        status, _ = await asyncio.to_thread(send, self.url, "hse", source, event, json.dumps(body).encode())
        return status


class Shown(NamedTuple):
    """What muster knows, and why, by its rows."""

    what: str
    why: str


#: What muster shows of a step, or None while it does not.
Proof = Callable[[Scene], Awaitable[Shown | None]]


@dataclass(frozen=True, slots=True)
class Step:
    """Something happens at a vendor, and muster shows it."""

    story: str
    how: str
    play: Callable[[Scene], Awaitable[object]]
    proof: Proof


async def _row() -> "ActionSubscription | None":
    from workers.operations.subscriptions import by_id

    return next(iter(await by_id(samples.SUBSCRIPTION["action_subscription_id"])), None)


def _subscription(**expected: Any) -> Proof:
    """The subscription with these fields, fetched from 4HSE."""

    async def proof(_: Scene) -> Shown | None:
        row = await _row()
        if row is None or row.fetched_at is None or any(getattr(row, name) != value for name, value in expected.items()):
            return None
        what = f"{row.state}, {row.status}: {row.action_name}, {row.subscriber_code}" if row.status else row.state
        return Shown(what, await _why(row))

    return proof


async def _why(row: "ActionSubscription") -> str:
    """What its state or status follows from."""
    from workers.mirror.tables import Action

    if row.state == "deleted":
        return "a DELETE told of it, and the API does not show it" if row.hint_deleted else "the API does not show it"
    if row.certificate_date_release is None:
        return "it has no certificate"
    until = f"certificate of {row.certificate_date_release}, until {row.certificate_date_expire}"
    if row.status != "EXPIRING":
        return until
    action = await Action.get(account=row.account, action_id=row.action_id)
    return f"{until}; EXPIRING from {action.expire_interval} days before"


async def _refused(_: Scene) -> Shown | None:
    """The subscription as it was, and nothing in the log."""
    from workers.log import LoggedDelivery

    row = await _row()
    told = await LoggedDelivery.filter(event=_DELETE).count()
    return Shown(row.state, "the token is wrong: no delivery of it is in the log") if row is not None and not told else None


def _last_delivery(state: str, *, repeat: bool = False) -> Proof:
    """The delivery that arrived last."""

    async def proof(_: Scene) -> Shown | None:
        from workers.operations.deliveries import find

        newest = (await find(limit=1))[0]
        if newest.state != state or repeat != (newest.repeat_of is not None):
            return None
        return Shown(newest.state, f"it repeats delivery {newest.repeat_of}" if repeat else f"{newest.reason}: {newest.detail}")

    return proof


def _result(noun: str, poll: str | None = None, **expected: Any) -> Proof:
    """A result that the mirror holds now."""

    async def proof(_: Scene) -> Shown | None:
        from workers.log import LoggedDelivery
        from workers.operations.results import find
        from workers.schedules import Schedule

        found = [row for row in await find(noun) if all(getattr(row, name) == value for name, value in expected.items())]
        if not found:
            return None
        what = f"{noun.replace('_', ' ')}: " + ", ".join(f"{name} {value}" for name, value in expected.items())
        if poll is not None:
            asked = await Schedule.get(account=found[0].account, name=poll)
            return Shown(what, f"poll {asked.name} of {asked.account}: version {found[0].version}")
        told = await LoggedDelivery.filter(account=found[0].account).order_by("-id").first()
        return Shown(what, f"delivery of {told.source}, {told.state}; then fetched: version {found[0].version}") if told else None

    return proof


def _need(state: str, *, cycles: int = 1, seat: str) -> Proof:
    """The rule's last need for the subscription, and the learner's seat in the LMS itself."""

    async def proof(scene: Scene) -> Shown | None:
        from workers.followups.tables import Need
        from workers.simulators import acme

        needs = await Need.filter(action_subscription_id=acme.SUBSCRIPTION).order_by("created_at")
        found = scene.acme.environment.seats.get((acme.LEARNER, acme.COURSE))
        held = "none" if found is None or found.ended else "held"
        if len(needs) != cycles or needs[-1].state != state or held != seat:
            return None
        return Shown(f"need {state}; seat in the course: {held}", await _reason(needs[-1]))

    return proof


async def _reason(need: "Need") -> str:
    """Why a need stands where it does; where it has a seat, also who wants that."""
    from workers.followups.tables import FollowupMove, NeedTarget

    if need.state != "enrolled":
        return str(need.reason)
    (target,) = await NeedTarget.filter(need=need.id)
    planned = await FollowupMove.get(enrollment=target.enrollment, state="planned")
    return f"{planned.reason}: {need.reason}"


async def _apply(scene: Scene) -> None:
    from workers.operations.rules import apply

    assert scene.worker.database is not None
    await apply(scene.worker.database, scene.settings.rules, scene.calendar(), "the operator")


async def _applied(scene: Scene) -> Shown | None:
    from workers.audit import AuditEntry
    from workers.operations.rules import listed

    (rule,) = await listed(scene.settings.rules, scene.settings.accounts)
    deed = await AuditEntry.filter(verb="rules apply").first()
    return Shown(f"{rule.name}: {rule.state}", f"{deed.verb}, by {deed.who}") if deed and rule.state == "applied" else None


async def _nothing(_: Scene) -> None:
    """Muster goes on by itself."""


async def _subscribe(scene: Scene) -> None:
    from workers.simulators import acme

    scene.acme.tenancy.subscribe(acme.ACTION, acme.PERSON, action_subscription_id=acme.SUBSCRIPTION)


async def _repeat(scene: Scene) -> None:
    """4HSE sends the CREATE once more, to the letter."""
    send = scene.acme.tenancy.webhooks.send
    assert send is not None
    await send(_CREATE, samples.SUBSCRIPTION)


async def _forge(scene: Scene) -> None:
    assert await scene.post(samples.SUBSCRIPTION, _DELETE, secret="guessed") == HTTPStatus.UNAUTHORIZED  # noqa: S106 - wrong on purpose


async def _maim(scene: Scene) -> None:
    await scene.post({key: value for key, value in samples.SUBSCRIPTION.items() if key != "subscriber_id"}, _CREATE)


async def _complete(scene: Scene) -> None:
    from workers.simulators import acme

    # aNewSpring tells whole seconds, and a pass of the very second in which the duty was first seen does not count.
    await asyncio.sleep(1.1)
    scene.acme.environment.complete(acme.LEARNER, acme.COURSE, 67)


async def _observe(scene: Scene) -> None:
    from workers.simulators import acme

    scene.acme.ispring.observe("an-employee", "an-observer", acme.CHECKLIST, result=60)


async def _attend(scene: Scene) -> None:
    scene.acme.kare.attend(7, scene.acme.kare.schedule(siteIds=[1]))


async def _lose(scene: Scene) -> None:
    """A colleague is put on the schedule while 4HSE's webhooks go nowhere; the next reconcile comes now instead of in a day."""
    from workers.schedules import hasten
    from workers.simulators import acme

    told, scene.acme.tenancy.webhooks.send = scene.acme.tenancy.webhooks.send, None
    scene.acme.tenancy.subscribe(acme.ACTION, acme.COLLEAGUE)
    scene.acme.tenancy.webhooks.send = told
    await hasten("hse", "reconcile", scene.calendar())


async def _drift(scene: Scene) -> Shown | None:
    from workers.mirror.tables import Drift

    drift = await Drift.filter(kind="missing").first()
    seat = scene.acme.environment.seats.get(("JS002", samples.COURSE_COMPLETED["course"]["id"]))  # type: ignore[index]
    # A refresh of the whole office may have come first.
    why = "reconcile: it was missing in the mirror" if drift else "it was seen beside a colleague"
    return None if seat is None else Shown("mirrored, and enrolled", why)


async def _pass_years(scene: Scene) -> None:
    """It is twenty days before the certificate expires."""
    row = await _row()
    assert row is not None
    assert row.certificate_date_expire is not None
    scene.calendar.ahead = timedelta(days=(row.certificate_date_expire - now_utc().date()).days - 20)


async def _delete(scene: Scene) -> None:
    from workers.simulators import acme

    scene.acme.tenancy.delete("action-subscription", acme.SUBSCRIPTION)


_CREATE, _DELETE = "ACTION_SUBSCRIPTION::CREATE", "ACTION_SUBSCRIPTION::DELETE"

STEPS = (
    Step("the operator says yes to a rule", "rules apply", _apply, _applied),
    Step("4HSE: a person owes a fire safety training", "webhook, then the API", _subscribe, _subscription(state="live", status="NEW")),
    Step("  so the rule enrolls them in the course", "rule", _nothing, _need("enrolled", seat="held")),
    Step("the same webhook comes again: harmless", "webhook", _repeat, _last_delivery("applied", repeat=True)),
    Step("somebody without the token wants it deleted: 401", "webhook", _forge, _refused),
    Step("a body without its subscriber: kept, with a reason", "webhook", _maim, _last_delivery("dead")),
    Step("aNewSpring: the course is completed", "webhook, then the API", _complete, _result("course_result", grade=67.0, completed=True)),
    Step("  so 4HSE gets the certificate, and shows it", "rule, then the API", _nothing, _subscription(state="live", status="VALID")),
    Step("  and the need is met", "rule", _nothing, _need("valid", seat="held")),
    Step(
        "iSpring Learn: an observation, of which no webhook tells",
        "poll",
        _observe,
        _result("observation", "observations", status="PASSED", result=60.0),
    ),
    Step("Kare: an exercise was attended", "poll", _attend, _result("attendance", "attendance", status="present")),
    Step("4HSE: a colleague owes it too, and the webhook is lost", "reconcile", _lose, _drift),
    Step("almost five years pass", "clock", _pass_years, _subscription(state="live", status="EXPIRING")),
    Step("  so the rule enrolls them again", "rule", _nothing, _need("enrolled", cycles=2, seat="held")),
    Step("4HSE: the duty is deleted", "webhook, then the API", _delete, _subscription(state="deleted")),
    Step("  so they are unsubscribed", "rule", _nothing, _need("undone", cycles=2, seat="none")),
    Step("a late CREATE does not bring it back", "webhook, then the API", _repeat, _subscription(state="deleted")),
)
