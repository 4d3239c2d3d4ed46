"""`federation privacy`: show what was spent of the privacy budget, by week and mechanism."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.exit_codes import SUCCESS
from constellation.cli.parsing import make_number_parser
from constellation.cli.printing import make_console, print_json, to_json
from constellation.cli.remote import open_remote
from constellation.cli.tables import PrintedTable, number_column, text_column
from constellation.v1 import federation_pb2 as pb

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands

_DEFAULT_WEEKS: Final = 4
_MAX_WEEKS: Final = 53


def add_privacy(commands: Commands) -> None:
    parser = commands.add(
        "privacy",
        run_privacy,
        "show what was spent of the privacy budget, by week and mechanism",
        details="A federation without PRIVACY_EPSILON publishes without noise and has no budget.",
        examples=("", "--weeks 53 --json"),
    )
    parser.add_argument(
        "--weeks",
        type=make_number_parser(1, _MAX_WEEKS, is_integer=True),
        default=_DEFAULT_WEEKS,
        help="weeks to show, the present one first (default: %(default)s)",
    )
    add_connection_flags(parser)


async def run_privacy(options: Namespace) -> int:
    """Print the budget, and what each week and mechanism spent of it."""
    async with open_remote(options) as remote:
        privacy = await remote.call(
            remote.federation.GetPrivacy, pb.GetPrivacyRequest(weeks=options.weeks)
        )
    if options.json:
        print_json(to_json(privacy))
        return SUCCESS
    console = make_console()
    if not privacy.enabled:
        console.print("This federation publishes without noise: PRIVACY_EPSILON is 0.")
        return SUCCESS
    columns = (
        text_column("week of"),
        number_column("epsilon"),
        text_column("mechanism"),
        number_column("releases"),
        number_column("rho spent"),
        number_column("of"),
        number_column("noise"),
    )
    table = PrintedTable(columns)
    for week in privacy.weeks:
        for row, spending in enumerate(week.mechanisms):
            table.add_row(*_format_week(week, is_first=not row), *_format_spending(spending))
    table.print(console)
    console.print(
        f"[dim]budget of a week: epsilon {privacy.epsilon:g} at delta {privacy.delta:g}; "
        f"{privacy.releases_refused} releases refused since the start[/]"
    )
    return SUCCESS


def _format_week(week: pb.PrivacyWeek, *, is_first: bool) -> tuple[str, str]:
    if not is_first:
        return "", ""
    return f"{week.begins_at.ToDatetime():%Y-%m-%d}", f"{week.epsilon_spent:.3f}"


def _format_spending(spending: pb.PrivacySpending) -> tuple[str, ...]:
    return (
        spending.mechanism,
        f"{spending.releases} of {spending.releases_planned}",
        f"{spending.rho_spent:.5f}",
        f"{spending.rho_budget:.5f}",
        f"{spending.noise_scale:.1f}" if spending.releases else "",
    )
