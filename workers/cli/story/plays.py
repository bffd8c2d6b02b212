"""What happens in the story: at the vendors, by hand, or by nothing but time."""

import asyncio
from datetime import timedelta

from schemas import samples
from schemas.delivery import now_utc
from workers.cli.story.scene import Scene
from workers.operations import rules, subscriptions
from workers.schedules import hasten
from workers.simulators import acme

_CREATE, _DELETE = "ACTION_SUBSCRIPTION::CREATE", "ACTION_SUBSCRIPTION::DELETE"


async def apply(scene: Scene) -> None:
    """The operator applies the rule."""
    assert scene.worker.database is not None
    await rules.apply(scene.worker.database, scene.settings.rules, scene.calendar(), "the operator")


async def subscribe(scene: Scene) -> None:
    """A person is put on the schedule."""
    scene.acme.tenancy.subscribe(acme.ACTION, acme.PERSON, action_subscription_id=acme.SUBSCRIPTION)


async def repeat(scene: Scene) -> None:
    """4HSE sends the CREATE once more, to the letter."""
    send = scene.acme.tenancy.webhooks.send
    assert send is not None
    await send(_CREATE, samples.SUBSCRIPTION)


async def forge(scene: Scene) -> None:
    """Somebody guesses the token."""
    await scene.post(samples.SUBSCRIPTION, _DELETE, secret="guessed")  # noqa: S106 - wrong on purpose


async def maim(scene: Scene) -> None:
    """A body comes without what it is about."""
    await scene.post({key: value for key, value in samples.SUBSCRIPTION.items() if key != "subscriber_id"}, _CREATE)


async def complete(scene: Scene) -> None:
    """The learner completes the course."""
    # aNewSpring tells whole seconds, and a pass of the very second in which the duty was first seen does not count.
    await asyncio.sleep(1.1)
    scene.acme.environment.complete(acme.LEARNER, acme.COURSE, 67)


async def observe(scene: Scene) -> None:
    """Somebody is observed on the job."""
    scene.acme.ispring.observe("an-employee", "an-observer", acme.CHECKLIST, result=60)


async def attend(scene: Scene) -> None:
    """Somebody attends an exercise."""
    scene.acme.kare.attend(7, scene.acme.kare.schedule(siteIds=[1]))


async def lose(scene: Scene) -> None:
    """A colleague is put on the schedule while 4HSE's webhooks go nowhere; the next reconcile comes now instead of in a day."""
    told, scene.acme.tenancy.webhooks.send = scene.acme.tenancy.webhooks.send, None
    scene.acme.tenancy.subscribe(acme.ACTION, acme.COLLEAGUE)
    scene.acme.tenancy.webhooks.send = told
    await hasten("hse", "reconcile", scene.calendar())


async def pass_years(scene: Scene) -> None:
    """It is twenty days before the certificate expires."""
    (row,) = await subscriptions.by_id(acme.SUBSCRIPTION)
    assert row.certificate_date_expire is not None
    scene.calendar.ahead = timedelta(days=(row.certificate_date_expire - now_utc().date()).days - 20)


async def delete(scene: Scene) -> None:
    """The duty is taken off the schedule."""
    scene.acme.tenancy.delete("action-subscription", acme.SUBSCRIPTION)
