"""The set-top SDK of Constellation: learn on the device, share patterns, recommend offline."""

from constellation_settop.device import Device, DeviceSettings
from constellation_settop.errors import (
    CredentialError,
    SettopError,
    StorageError,
    UnreachableError,
    WrongCallError,
)
from constellation_settop.network.settings import SyncSettings
from constellation_settop.network.sync import Sync, sync_once
from constellation_settop.recommending.brain import Brain
from constellation_settop.recommending.catalogue import Catalogue
from constellation_settop.recommending.learning import LearningSettings
from constellation_settop.recommending.ranking import Choice, Weights
from constellation_settop.storage.database import Durability
from constellation_settop.storage.journal import AckedDelta, SharedValue, replay
from constellation_settop.storage.outbox import Outbox
from constellation_settop.values import (
    Changes,
    ContentType,
    Context,
    DayType,
    Learned,
    Pattern,
    Signal,
    TimeOfDay,
    View,
)

__all__ = [
    "AckedDelta",
    "Brain",
    "Catalogue",
    "Changes",
    "Choice",
    "ContentType",
    "Context",
    "CredentialError",
    "DayType",
    "Device",
    "DeviceSettings",
    "Durability",
    "Learned",
    "LearningSettings",
    "Outbox",
    "Pattern",
    "SettopError",
    "SharedValue",
    "Signal",
    "StorageError",
    "Sync",
    "SyncSettings",
    "TimeOfDay",
    "UnreachableError",
    "View",
    "Weights",
    "WrongCallError",
    "replay",
    "sync_once",
]
