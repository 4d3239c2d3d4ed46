from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from constellation.core.table.slot_allocator import SlotAllocator


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=30))
def test_an_allocator_never_hands_out_a_slot_in_use(steps: list[tuple[bool, int]]) -> None:
    allocator, used = SlotAllocator(10), set[int]()
    for is_taken, count in steps:
        if is_taken and count <= allocator.free_count():
            slots = allocator.peek(count).tolist()
            allocator.take(count)
            assert len(set(slots)) == count
            assert not used & set(slots)
            used |= set(slots)
        elif not is_taken:
            freed = sorted(used)[:count]
            allocator.free(np.array(freed, np.int64))
            used -= set(freed)
        assert allocator.free_count() == 10 - len(used)
