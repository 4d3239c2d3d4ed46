"""The set-top SDK of Constellation: learn on the device, share patterns, recommend offline."""

from constellation_settop.brain import Brain
from constellation_settop.catalogue import Catalogue
from constellation_settop.database import Durability
from constellation_settop.device import Device, DeviceSettings
from constellation_settop.errors import (
    CredentialError,
    SettopError,
    StorageError,
    UnreachableError,
    WrongCallError,
)
from constellation_settop.journal import AckedDelta, SharedValue, replay
from constellation_settop.learning import LearningSettings
from constellation_settop.outbox import Outbox
from constellation_settop.ranking import Choice, Weights
from constellation_settop.settings import SyncSettings
from constellation_settop.state import (
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
from constellation_settop.sync import Sync, sync_once

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
