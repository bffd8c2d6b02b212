"""aNewSpring, as its support articles on the subscription calls, the API and webhooks describe it.

    environment = Environment(key, now, Hook(url, sign))
    environment.add_user("JS001"); environment.add_course("FIRE"); …; environment.complete("JS001", "FIRE", 67)
    simulator(environment)  # its API, an ASGI app

What the documents do not print is chosen here: the shape of `_formatErrors`, the events' names, the fields of a webhook
(`event` and `created` are documented, the rest is shaped like getResults), and the form fields' names.
"""

from workers.simulators.anewspring.api import Manners, simulator
from workers.simulators.anewspring.environment import Activity, Environment, Hook, Seat

__all__ = ["Activity", "Environment", "Hook", "Manners", "Seat", "simulator"]
