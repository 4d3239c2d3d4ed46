from __future__ import annotations

from argparse import ArgumentTypeError, Namespace

import pytest

from constellation.cli.parsing import Commands, add_json_flag, make_number_parser, make_parser
from constellation.config import ShardConfig


async def run_nothing(_: Namespace) -> int:
    return 0


def test_a_number_within_its_limits_is_parsed() -> None:
    assert make_number_parser(0.5, 3600)("0.5") == 0.5
    assert make_number_parser(1, 9, is_integer=True)("9") == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "must be an integer, got 'x'"),
        ("1.5", "must be an integer, got '1.5'"),
        ("0", "must be from 1 to 20,000, got 0"),
        ("20001", "must be from 1 to 20,000, got 20001"),
    ],
)
def test_a_wrong_number_is_named_with_its_limits(text: str, message: str) -> None:
    parse = make_number_parser(1, 20_000, is_integer=True)

    with pytest.raises(ArgumentTypeError) as raised:
        parse(text)

    assert str(raised.value) == message


def test_not_a_number_is_beyond_every_limit() -> None:
    with pytest.raises(ArgumentTypeError, match="must be from 0 to 1, got nan"):
        make_number_parser(0, 1)("nan")


def test_a_command_has_its_handler_its_settings_and_its_flags() -> None:
    parser = make_parser("program", "Does things.", ShardConfig)
    add_json_flag(Commands(parser).add("act", run_nothing, "do a thing"))

    options = parser.parse_args(["act", "--json"])

    assert (options.run, options.settings, options.json) == (run_nothing, ShardConfig, True)


def test_the_help_of_a_command_has_its_summary_its_details_and_its_examples() -> None:
    group = Commands(make_parser("program", "Does things.", ShardConfig)).add_group("noun", "verbs")

    text = group.add(
        "act", run_nothing, "do a thing", details="It takes long.", examples=("", "--fast")
    ).format_help()

    assert "\nDo a thing.\n\nIt takes long.\n" in text
    assert text.endswith("examples:\n  program noun act\n  program noun act --fast\n")
