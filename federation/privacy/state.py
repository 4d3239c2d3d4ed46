"""NoisedState: what was released with noise, for the next round; all of it may be published."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from constellation.federated.trends import WINDOW_HOURS, Counts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class NoisedState:
    """The newest noised counts, which name only what passed a threshold."""

    likes: Mapping[str, int] = field(default_factory=dict)
    """By content id: about how many contributing devices like it."""
    hours: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    """By hour since 1970, and content id: about how many devices watched it."""
    hour_scale: float = 0.0
    """The largest standard deviation of the noise in `hours`."""

    def make_window(self, newest_hour: int) -> tuple[Sequence[str], Counts]:
        """Return the content items of the last WINDOW_HOURS hours, and their counts.

        The counts have shape (WINDOW_HOURS, n), with `newest_hour` in the last row.
        """
        hours = [hour for hour in self.hours if newest_hour - WINDOW_HOURS < hour <= newest_hour]
        content_ids = sorted({each for hour in hours for each in self.hours[hour]})
        column_of = {content_id: column for column, content_id in enumerate(content_ids)}
        counts = np.zeros((WINDOW_HOURS, len(content_ids)))
        for hour in hours:
            row = hour - newest_hour + WINDOW_HOURS - 1
            for content_id, devices in self.hours[hour].items():
                counts[row, column_of[content_id]] = devices
        return content_ids, counts
