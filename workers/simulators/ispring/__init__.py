"""iSpring Learn, as "Getting Session Details", "Access Token" and the pages on webhooks describe it.

    account = Account(client_id, client_secret, now, sign=sign)
    account.observe(employee, observer, checklist, result=60); account.complete(learner, course)
    simulator(account)  # its API, an ASGI app

Events go to the subscribers of their type, in order; on-the-job sessions have no event. Chosen here, for nobody documents it: the
numbers and words of errors, the interval between retries, and that a failed CONFIRMATION is not sent again.
"""

from workers.simulators.ispring.account import Account, Session
from workers.simulators.ispring.api import simulator
from workers.simulators.ispring.subscribers import Subscriber, Times

__all__ = ["Account", "Session", "Subscriber", "Times", "simulator"]
