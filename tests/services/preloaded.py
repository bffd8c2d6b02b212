"""Everything that a command may import, imported: what commands are forked from begins with this."""

import importlib
import pkgutil

import receiver
import schemas
import workers

for package in (schemas, receiver, workers):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
