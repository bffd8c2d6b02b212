"""4HSE: its API 2.0.0 with Yii2's manners, the Keycloak before it, and its webhooks."""

from workers.simulators.fourhse.app import simulator
from workers.simulators.fourhse.login import Keycloak
from workers.simulators.fourhse.tenancy import Tenancy
from workers.simulators.fourhse.webhooks import Webhooks

__all__ = ["Keycloak", "Tenancy", "Webhooks", "simulator"]
