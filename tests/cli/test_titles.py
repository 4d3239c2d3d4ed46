from __future__ import annotations

from constellation.cli.titles import format_title
from constellation.v1.shard_pb2 import Content

CONTENTS = {
    "film:1": Content(content_id="film:1", title="Ran", year=1985),
    "film:2": Content(content_id="film:2", title="Ran"),
    "film:3": Content(content_id="film:3", year=1985),
}


def test_a_title_has_its_year_when_it_is_known() -> None:
    assert format_title("film:1", CONTENTS) == "Ran (1985)"
    assert format_title("film:2", CONTENTS) == "Ran"


def test_without_a_title_the_content_id_is_printed() -> None:
    assert format_title("film:3", CONTENTS) == "film:3"
    assert format_title("film:404", CONTENTS) == "film:404"
