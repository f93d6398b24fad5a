"""What the parts of a boundary say of each other: each check with its reason and its remedy.

A check is a pure function over the sections it names; it runs when those sections are sound in themselves.
"""

from ringfence.domain.parse.crosschecks import (
    branches,
    commands,
    limits,
    models,
    money,
    network,
    people,
    repositories,
    secrets,
    storage,
    toolchains,
    vendors,
)
from ringfence.domain.parse.crosschecks.check import CrossCheck

CROSSCHECKS: tuple[CrossCheck, ...] = (
    *people.CHECKS,
    *storage.CHECKS,
    *repositories.CHECKS,
    *branches.CHECKS,
    *toolchains.CHECKS,
    *commands.CHECKS,
    *models.CHECKS,
    *vendors.CHECKS,
    *money.CHECKS,
    *network.CHECKS,
    *secrets.CHECKS,
    *limits.CHECKS,
)

__all__ = ["CROSSCHECKS", "CrossCheck"]
