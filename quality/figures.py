"""The committed figures: what the documents say, and what the tests guard."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from quality.losses import Loss
from quality.metrics import Quality
from quality.privacy import PrivacyResult, PrivacyRow
from quality.results import (
    ChainResult,
    CurvePoint,
    LossesResult,
    Row,
    ShortResult,
    ShortRun,
    TrafficRow,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE: Final = Path(__file__).with_name("figures.json")
Result = ChainResult | LossesResult | PrivacyResult | ShortResult
_DIGITS: Final = 4
_KEYS: Final = {
    ChainResult: "chain",
    LossesResult: "losses",
    PrivacyResult: "privacy",
    ShortResult: "short",
}


def save_result(result: Result, file: Path = FILE) -> None:
    """Replace the figures of one kind in the file, and keep the others."""
    figures = json.loads(file.read_text()) if file.exists() else {}
    figures[_KEYS[type(result)]] = _round_all(asdict(result))
    file.write_text(json.dumps(figures, indent=1) + "\n")


def _round_all(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _round_all(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_round_all(each) for each in value]
    return round(value, _DIGITS) if isinstance(value, float) else value


def load_chain(file: Path = FILE) -> ChainResult:
    """Return the committed figures of the whole system."""
    stored = _read(file, "chain")
    return ChainResult(
        split=stored["split"],
        households=stored["households"],
        baselines=[_to_row(each) for each in stored["baselines"]],
        devices=[_to_row(each) for each in stored["devices"]],
        newcomer_popularity=Quality(**stored["newcomer_popularity"]),
        curve=[
            CurvePoint(each["views"], Quality(**each["quality"]), Quality(**each["ceiling"]))
            for each in stored["curve"]
        ],
        traffic=[TrafficRow(**each) for each in stored["traffic"]],
    )


def load_losses(file: Path = FILE) -> LossesResult:
    """Return the committed losses of the economies."""
    stored = _read(file, "losses")
    losses = [
        Loss(each["economy"], each["value"], Quality(**each["quality"]))
        for each in stored["losses"]
    ]
    return LossesResult(stored["split"], losses)


def load_privacy(file: Path = FILE) -> PrivacyResult:
    """Return the committed costs of differential privacy."""
    stored = _read(file, "privacy")
    rows, choices = (
        [
            PrivacyRow(
                **{
                    **each,
                    "related": Quality(**each["related"]),
                    "popular": Quality(**each["popular"]),
                }
            )
            for each in stored[key]
        ]
        for key in ("rows", "choices")
    )
    return PrivacyResult(stored["split"], stored["households"], rows, choices)


def load_short(file: Path = FILE) -> ShortResult:
    """Return the committed figures of the short form."""
    stored = _read(file, "short")
    runs = [ShortRun(**run) for run in stored["runs"]]
    return ShortResult(stored["split"], stored["households"], runs)


def _read(file: Path, key: str) -> Mapping[str, Any]:
    figures: Mapping[str, Mapping[str, Any]] = json.loads(file.read_text())
    return figures[key]


def _to_row(stored: Mapping[str, Any]) -> Row:
    return Row(stored["name"], stored["label"], Quality(**stored["quality"]))
