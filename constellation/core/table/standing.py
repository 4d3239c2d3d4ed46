"""Standing: which devices count for what others see, and with which origin.

A device that anybody could have made up counts for nothing that others see: not for the support of
content, trends, clusters, liked content, nor shared patterns. It counts once it is old enough and
was active on several days, unless an operator has put it into quarantine.

A device's origin is its production lot, or, when that is unknown, the network that it first synced
from. K-anonymity counts origins as well, so that one lot, however large, cannot make anything
visible alone: a content item, a shared pattern and what it names, a cluster, a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.rows import reserve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rows import DeviceRows, Slots

SECONDS_PER_DAY: Final = 86_400
ACTIVE_DAYS: Final = 3
"""Days with an accepted change that a device must have had; fewer when it may count earlier."""
ORIGIN_NUMBERS: Final = 16
"""Origins are distinguished by a number from 1 to this. Several may share one, so there are at
least as many distinct origins as there are distinct numbers, and never fewer."""
_MAX_ACTIVE_DAYS: Final = 255
_ROUNDING: Final = 1e-9


def to_day(now: float) -> int:
    """Return the day of a time in seconds since 1970, UTC, as a number that rows can hold."""
    return int(now) // SECONDS_PER_DAY


def compute_standing(rows: DeviceRows, today: int, min_age_days: int) -> NDArray[np.uint8]:
    """Return the origin number with which each device counts on a day; 0 if it does not count.

    Days are counted from 1970, UTC. A device whose first day is unknown was stored before days were
    recorded, and counts.
    """
    ages = today - rows["first_day"].astype(np.int64)
    is_proven = (rows["active_days"] >= min(ACTIVE_DAYS, min_age_days)) & (ages >= min_age_days)
    counts = (is_proven | (rows["first_day"] == 0)) & (rows["quarantined"] == 0)
    origins = np.where(rows["lot"] > 0, rows["lot"], rows["network"])
    numbers = (origins % np.uint64(ORIGIN_NUMBERS)).astype(np.uint8) + np.uint8(1)
    standing: NDArray[np.uint8] = np.where(counts & (rows["incarnation"] > 0), numbers, 0)
    return standing.astype(np.uint8, copy=False)


def note_activity(rows: DeviceRows, is_active: NDArray[np.bool_], today: int) -> None:
    """Count a day for devices with an accepted change on a later day than the last, in place."""
    is_later = is_active & (rows["active_day"] < today)
    rows["active_day"][is_later] = today
    counted = is_later & (rows["active_days"] < _MAX_ACTIVE_DAYS)
    rows["active_days"][counted] += np.uint8(1)


@dataclass(frozen=True, slots=True)
class SupportFloor:
    """The least number of devices, and of their origins, behind anything that others may see."""

    devices: int
    origins: int = 1

    def is_met(
        self, devices: NDArray[np.integer], origins: NDArray[np.integer]
    ) -> NDArray[np.bool_]:
        """Return which of some counts of distinct devices and of their origins are enough."""
        met: NDArray[np.bool_] = (devices >= self.devices) & (origins >= self.origins)
        return met

    def find_supported(
        self, subjects: NDArray[np.int64], origins: NDArray[np.uint8], count: int
    ) -> NDArray[np.bool_]:
        """Return which of `count` subjects enough devices, of enough origins, support.

        `subjects` and `origins` have one entry for each device and subject that it supports: the
        subject's number, and the origin number with which the device counts.
        """
        devices = np.bincount(subjects, minlength=count)
        is_present = np.zeros((count, ORIGIN_NUMBERS + 1), np.bool_)
        is_present[subjects, origins] = True
        return self.is_met(devices, np.count_nonzero(is_present[:, 1:], axis=1))


class Standing:
    """The origin number with which each device of a shard counts now.

    What is subtracted from a sum must be what was added to it, so a device counts exactly as this
    says until `set` changes it together with the sums.
    """

    def __init__(self, max_devices: int) -> None:
        self.numbers: NDArray[np.uint8] = reserve(max_devices, np.dtype("u1"))
        """By device: its origin number; 0 when it does not count."""
        self._devices: NDArray[np.int64] = np.zeros(ORIGIN_NUMBERS + 1, np.int64)
        """By origin number: the devices that count with it; those at 0 are not kept."""

    @property
    def counted(self) -> int:
        """The number of devices that count."""
        return int(self._devices[1:].sum())

    def set(self, devices: Slots, numbers: NDArray[np.uint8]) -> None:
        """Let distinct devices count with these origin numbers from now on."""
        np.subtract.at(self._devices, self.numbers[devices], 1)
        self.numbers[devices] = numbers
        np.add.at(self._devices, numbers, 1)

    def require_support(self, k_anonymity: int) -> SupportFloor:
        """Return what a group of `k_anonymity` devices must have, for every part of the shard."""
        return SupportFloor(k_anonymity, self.require_origins(k_anonymity))

    def require_origins(self, k_anonymity: int) -> int:
        """Return how many origins a group of `k_anonymity` devices must have.

        That is `k_anonymity`, or the effective number of origins when there are fewer: the inverse
        of the Simpson index, by which a few devices of another lot change nothing.
        """
        devices = self._devices[1:].astype(np.float64)
        if not devices.any():
            return 1
        effective = devices.sum() ** 2 / (devices**2).sum()
        return min(k_anonymity, int(effective + _ROUNDING))
