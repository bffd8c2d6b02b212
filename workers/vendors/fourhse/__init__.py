"""4HSE, API 2.0.0: Yii2 conventions over JSON."""

from workers.vendors.fourhse.client import Fourhse, Page, Resource

__all__ = ["Fourhse", "Page", "Resource"]
