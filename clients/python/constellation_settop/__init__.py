"""The set-top SDK of Constellation: learn on the device, share patterns, recommend offline.

Start with `Device`. `Brain`, `Outbox` and `Sync` are its parts and can be used alone. Embeddings
have 384 numbers, those of all-MiniLM-L6-v2. Logs go to the logger "constellation_settop".
"""

from constellation_settop.device import Device
from constellation_settop.device_settings import DeviceSettings
from constellation_settop.errors import (
    CredentialError,
    InvalidArgumentError,
    SettopError,
    StorageError,
    UnreachableError,
)
from constellation_settop.network.catalogue_copy import fetch_catalogue
from constellation_settop.network.global_keys import GlobalKeys
from constellation_settop.network.identity import DeviceIdentity
from constellation_settop.network.once import sync_once
from constellation_settop.network.settings import SyncSettings, TlsSettings
from constellation_settop.network.sync import Sync
from constellation_settop.profile import Profile
from constellation_settop.recommending.brain import Brain
from constellation_settop.recommending.catalogue import Catalogue
from constellation_settop.recommending.learning import LearningSettings
from constellation_settop.recommending.ranking import RankingWeights, Recommendation
from constellation_settop.recommending.rewards import Feedback
from constellation_settop.status import DeviceStatus, ProfileStatus
from constellation_settop.storage.database import Durability
from constellation_settop.storage.journal import AckedDelta, PatternStats, replay
from constellation_settop.storage.outbox import Outbox
from constellation_settop.threaded import ThreadedDevice, ThreadedProfile
from constellation_settop.values import (
    ContentType,
    Context,
    DayType,
    HistoryEntry,
    LearnedPattern,
    LocalChanges,
    Pattern,
    Signal,
    TimeOfDay,
    View,
)

__all__ = [
    "AckedDelta",
    "Brain",
    "Catalogue",
    "ContentType",
    "Context",
    "CredentialError",
    "DayType",
    "Device",
    "DeviceIdentity",
    "DeviceSettings",
    "DeviceStatus",
    "Durability",
    "Feedback",
    "GlobalKeys",
    "HistoryEntry",
    "InvalidArgumentError",
    "LearnedPattern",
    "LearningSettings",
    "LocalChanges",
    "Outbox",
    "Pattern",
    "PatternStats",
    "Profile",
    "ProfileStatus",
    "RankingWeights",
    "Recommendation",
    "SettopError",
    "Signal",
    "StorageError",
    "Sync",
    "SyncSettings",
    "ThreadedDevice",
    "ThreadedProfile",
    "TimeOfDay",
    "TlsSettings",
    "UnreachableError",
    "View",
    "fetch_catalogue",
    "replay",
    "sync_once",
]
