"""`make quality`: measure recommendations through the whole system, and write them down."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Final

import uvloop

from benchmarks.report import Measurement, format_table, write_report
from constellation.blas import limit_blas_threads
from quality.chain import run_chain, run_short
from quality.document import COMMAND, PAGE, format_chain, format_losses, format_privacy
from quality.figures import load_chain, load_losses, load_privacy, save_result
from quality.losses import LossStudy
from quality.plot import PICTURE, draw_quality
from quality.privacy import PrivacyResult, PrivacyStudy
from quality.privacy_plot import PRIVACY_PICTURE, draw_privacy
from quality.report import (
    REPORT,
    list_chain_measurements,
    list_loss_measurements,
    list_privacy_measurements,
)
from quality.results import LossesResult, ShortResult
from quality.short import SHORT_RUNS, SHORT_SPLIT, select_short
from quality.split import SplitName, split_households
from testing.films import load_films
from testing.page_blocks import write_block
from testing.viewings import load_viewings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def main() -> None:
    """Run the named cases, or chain and losses, and write what they find.

    Figures and documents are written for the test split of the chain and the validation split of
    the losses, which are what the documents show. Other splits are for choosing, and only print.
    """
    parser = argparse.ArgumentParser(prog="python -m quality", description=main.__doc__)
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], help="default: chain losses")
    parser.add_argument(
        "--split", type=SplitName, default=SplitName.TEST, help="of the chain (%(default)s)"
    )
    arguments = parser.parse_args()
    limit_blas_threads()
    started = time.monotonic()
    for case in arguments.cases or ("chain", "losses"):
        CASES[case](arguments.split)
    print(f"took {time.monotonic() - started:.0f} s")


def measure_chain(split: SplitName) -> None:
    """Measure the whole system."""
    films = load_films()
    households = split_households(load_viewings(films), split)
    result = uvloop.run(run_chain(households, split))
    _report(list_chain_measurements(result))
    PICTURE.write_bytes(draw_quality(result))
    print(f"drawn to {PICTURE}")
    print(format_chain(result))
    if split is SplitName.TEST:
        save_result(result)
        write_block(PAGE, "chain", COMMAND, format_chain(load_chain()))


def measure_losses(_: SplitName) -> None:
    """Measure the economies of the related content, on the split that they are chosen on."""
    films = load_films()
    households = split_households(load_viewings(films), SplitName.VALIDATION)
    study = LossStudy(households, len(films))
    result = LossesResult(SplitName.VALIDATION, study.measure_all())
    _report(list_loss_measurements(result))
    save_result(result)
    write_block(PAGE, "losses", COMMAND, format_losses(load_losses()))


def measure_privacy(split: SplitName) -> None:
    """Measure what differential privacy costs, and what could be chosen otherwise."""
    films = load_films()
    viewings = load_viewings(films)
    households = split_households(viewings, split)
    chosen_on = PrivacyStudy(split_households(viewings, SplitName.VALIDATION), len(films))
    result = PrivacyResult(
        split,
        len(households),
        PrivacyStudy(households, len(films)).measure_epsilons(),
        chosen_on.measure_choices(),
    )
    _report(list_privacy_measurements(result))
    PRIVACY_PICTURE.write_bytes(draw_privacy(result))
    print(f"drawn to {PRIVACY_PICTURE}")
    print(format_privacy(result))
    if split is SplitName.TEST:
        save_result(result)
        write_block(PAGE, "privacy", COMMAND, format_privacy(load_privacy()))


def measure_short(_: SplitName) -> None:
    """Renew the figures that `tests/quality/test_chain.py` guards."""
    households = select_short()
    runs = [uvloop.run(run_short(households)) for _ in range(SHORT_RUNS)]
    for run in runs:
        print(run)
    save_result(ShortResult(SHORT_SPLIT, len(households), runs))


def _report(measurements: Sequence[Measurement]) -> None:
    write_report(measurements, REPORT)
    print(format_table(measurements))
    print(f"written to {REPORT}")


CASES: Final[dict[str, Callable[[SplitName], None]]] = {
    "chain": measure_chain,
    "losses": measure_losses,
    "privacy": measure_privacy,
    "short": measure_short,
}
