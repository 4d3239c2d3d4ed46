from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.commands.png import read_png

if TYPE_CHECKING:
    from pathlib import Path

    from tests.command_line import CommandLine
    from tests.servers import RunningFleet

pytest.importorskip("altair", reason="needs the extra plot")


def extract_specification(page: str) -> dict[str, Any]:
    """Return what a page draws."""
    found = re.search(r"^\s*const spec = (\{.*\});$", page, re.MULTILINE)
    assert found is not None
    spec: dict[str, Any] = json.loads(found[1])
    return spec


def find_external_resources(page: str) -> list[str]:
    """Return what a page would load from elsewhere; what scripts hold as text loads nothing."""
    outside = re.sub(r"(<script[^>]*>).*?</script>", r"\1", page, flags=re.DOTALL)
    return re.findall(r"<[^>]*\s(?:src|href)=[^>]*>", outside)


def extract_values(spec: dict[str, Any], chart: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what one chart draws."""
    rows: list[dict[str, Any]] = spec["datasets"][chart["data"]["name"]]
    return rows


@pytest.mark.parametrize(
    ("kind", "width", "height", "summary"),
    [
        ("patterns", 2000, (1300, 1600), r"\d+ patterns and \d+ clusters"),
        ("trends", 2000, (1400, 1800), r"\d+ trends"),
    ],
)
def test_a_picture_is_a_png_of_many_colours(
    cli: CommandLine, tmp_path: Path, kind: str, width: int, height: tuple[int, int], summary: str
) -> None:
    file = tmp_path / f"{kind}.png"

    finished = cli("plot", kind, str(file))

    assert finished.status == 0, finished.err
    assert re.fullmatch(rf"{re.escape(str(file))}: {summary}\n", finished.out)
    pixels = read_png(file.read_bytes())
    assert width <= pixels.shape[1] <= 1.3 * width
    assert height[0] <= pixels.shape[0] <= height[1]
    packed, counts = np.unique(pixels.view(np.uint32), return_counts=True)
    colours = packed[:, np.newaxis].view(np.uint8)
    assert colours[counts.argmax()].tolist() == [255, 255, 255, 255]
    vivid = colours[np.ptp(colours[:, :3].astype(int), axis=1) > 100]
    assert len(vivid) > 20
    inked = (pixels[:, :, :3] != 255).any(axis=2)
    assert 0.005 < inked.mean() < 0.5


def test_a_map_in_html_has_the_titles_and_needs_nothing_else(
    cli: CommandLine, fleet: RunningFleet, tmp_path: Path
) -> None:
    file = tmp_path / "map.html"

    document = cli.run_json("plot", "patterns", str(file))

    page = file.read_text()
    assert find_external_resources(page) == []
    spec = extract_specification(page)
    dots, marks, *_ = spec["layer"]
    assert len(extract_values(spec, dots)) == document["patterns"]
    assert 0 < document["patterns"] <= 2 * len(fleet.device_ids[0]) // 3
    assert len(extract_values(spec, marks)) == document["clusters"]
    assert {each["titles"] for each in extract_values(spec, dots)} <= {
        "Solaris (1972); Stalker (1972)",
        "Playtime (1972); Mon Oncle (1972)",
        "Ran [1985 cut] (1972)",
    }
    assert {each["field"] for each in dots["encoding"]["tooltip"]} >= {"titles", "genres"}


def test_patterns_have_the_colour_of_their_cluster(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "map.html"
    cli("plot", "patterns", str(file))

    spec = extract_specification(file.read_text())
    dots, marks, *_ = spec["layer"]

    for film in ("Solaris (1972)", "Playtime (1972)"):
        (cluster,) = (each for each in extract_values(spec, marks) if film in each["titles"])
        found = {each["colour"] for each in extract_values(spec, dots) if film in each["titles"]}
        assert found == {cluster["colour"]}
    assert len({each["colour"] for each in extract_values(spec, marks)}) > 1


def test_trends_in_html_have_every_hour(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "trends.html"

    cli("plot", "trends", str(file), "--hours", "24")

    page = file.read_text()
    assert find_external_resources(page) == []
    spec = extract_specification(page)
    lines = spec["vconcat"][0]["layer"][0]
    solaris = [
        each["devices"] for each in extract_values(spec, lines) if each["name"] == "Solaris (1972)"
    ]
    assert len(solaris) == 24
    assert max(solaris[-2:]) > 1  # an hour may have ended since the fleet was filled


@pytest.mark.parametrize("kind", ["patterns", "trends"])
def test_there_is_nothing_to_plot_of_an_empty_shard(
    unconfigured_cli: CommandLine, empty_shard: str, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "none.png"

    finished = unconfigured_cli("plot", kind, str(file), "--address", empty_shard)

    assert finished.status == 1
    assert "nothing to plot" in finished.err
    assert not file.exists()


def test_a_file_that_is_no_picture_is_a_usage_error(cli: CommandLine) -> None:
    finished = cli("plot", "patterns", "map.gif")

    assert finished.status == 2
    assert "must end in .png or .html, got 'map.gif'" in finished.err


def test_a_picture_that_cannot_be_written_leaves_nothing(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "none" / "map.png"

    finished = cli("plot", "patterns", str(file))

    assert finished.status == 2
    assert finished.err == f"constellation: cannot write {file}: No such file or directory\n"
