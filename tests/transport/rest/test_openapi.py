"""REST against its own description: Schemathesis sends what it allows, and what it does not."""

from __future__ import annotations

import asyncio
import base64
import copy
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished

from tests.deltas import device_id, embedding
from tests.federation.fleet import (
    get_address,
    make_drama_device,
    push_devices,
    run_federation,
    run_shards,
)

if TYPE_CHECKING:
    from constellation.server import RunningShard

SETTINGS: Final[dict[str, Any]] = {
    "seed": 7,
    "continue-on-failure": True,
    "request-timeout": 20,
    "generation": {"max-examples": 5, "deterministic": True, "no-shrink": True, "database": "none"},
}
ALLOWED_OR_NOT: Final[dict[str, Any]] = {
    # a type does not say what servicers ask for: 16 bytes in base64, an embedding of a usable norm
    "checks": {"positive_data_acceptance": {"enabled": False}}
}
ALLOWED: Final[dict[str, Any]] = {
    "generation": SETTINGS["generation"] | {"mode": "positive"},
    "phases": {"stateful": {"enabled": False}},
}
DEVICES: Final = [base64.b64encode(device_id(number)).decode() for number in range(3)]
EMBEDDING: Final = base64.b64encode(embedding(1).astype("<f4").tobytes()).decode()


@dataclass
class Findings:
    """What came of some thousand requests."""

    sent: Counter[str] = field(default_factory=Counter)
    """Requests, by operation ..."""
    accepted: Counter[str] = field(default_factory=Counter)
    """... and those of them that were answered with 200."""
    problems: set[str] = field(default_factory=set)

    def record_scenario(self, event: ScenarioFinished) -> None:
        recorder = event.recorder
        statuses = [
            each.response.status_code for each in recorder.interactions.values() if each.response
        ]
        self.sent[recorder.label] += len(statuses)
        self.accepted[recorder.label] += statuses.count(200)
        self.problems |= {
            f"{check.name}: {check.failure_info.failure}\n{check.failure_info.code_sample}"
            for checks in recorder.checks.values()
            for check in checks
            if check.failure_info
        }


def explore(document: dict[str, Any], address: str, settings: dict[str, Any]) -> Findings:
    """Send what the document allows, or not, to the process that serves it."""
    config = SchemathesisConfig.from_dict(SETTINGS | {"base-url": address} | settings)
    findings = Findings()
    for event in from_schema(schemathesis.openapi.from_dict(document, config=config)).execute():
        match event:
            case ScenarioFinished():
                findings.record_scenario(event)
            case FatalError() | NonFatalError():
                findings.problems.add(repr(event))
    return findings


async def fetch_document(address: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=address, verify=False) as rest:  # noqa: S501 - no TLS
        document: dict[str, Any] = (await rest.get("/openapi.json")).json()
    return document


def require_sound(findings: Findings, document: dict[str, Any]) -> None:
    """Check that every operation was called, and that no answer was wrong."""
    assert not findings.problems, "\n\n".join(sorted(findings.problems))
    assert list_operations(document) <= {each for each, count in findings.sent.items() if count}


def list_operations(document: dict[str, Any]) -> set[str]:
    return {f"{verb.upper()} {path}" for path, verbs in document["paths"].items() for verb in verbs}


def narrow_document(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with what the .proto files say in words only: all it allows is right."""
    narrow = copy.deepcopy(document)
    schemas = narrow["components"]["schemas"]
    contents = {"type": "array", "items": schemas["ContentInput"], "minItems": 1, "maxItems": 3}
    schemas["AddContentRequest"] |= {"properties": {"contents": contents}, "required": ["contents"]}
    word = {"type": "string", "pattern": "^[a-zé/%+ ]{1,16}$"}
    schemas["ContentInput"]["properties"] |= {
        "content_id": word,
        "title": word,
        "genres": {"type": "array", "items": word, "maxItems": 8},
        "content_type": {"enum": ["CONTENT_TYPE_MOVIE", "CONTENT_TYPE_CLIP", 2, 3]},
        "encoding": {"enum": ["ENCODING_FLOAT32", 1]},
        "embedding": {"const": EMBEDDING},
    }
    schemas["ContentInput"]["required"] = list(schemas["ContentInput"]["properties"])
    schemas["Delta"] |= {
        "properties": {
            "seq": {"enum": [1, "1"]},
            "snapshot": {"type": "boolean"},
            "removed_ids": {"enum": ["", DEVICES[0]]},
        },
        "required": ["seq"],
    }
    schemas["Hello"] |= {
        "properties": {
            "device_id": {"enum": DEVICES},
            "incarnation": {"enum": [1, "1"]},
            "held_similar_ids": {"enum": ["", DEVICES[0]]},
        },
        "required": ["device_id", "incarnation"],
    }
    deltas = {"type": "array", "items": schemas["Delta"], "maxItems": 3}
    schemas["ExchangeRequest"]["properties"] |= {"deltas": deltas}
    schemas["ExchangeRequest"]["required"] = ["hello"]
    cursor = narrow["paths"]["/api/v1/sync/version"]["get"]["parameters"][0]
    cursor |= {"required": True, "schema": {"enum": DEVICES}}
    content = narrow["paths"]["/api/v1/content/{content_id}"]["get"]["parameters"][0]
    content["schema"] = word
    return narrow


async def test_a_shard_does_what_its_document_says(shard: RunningShard) -> None:
    address = f"http://127.0.0.1:{shard.ports.rest}"
    document = await fetch_document(address)

    findings = await asyncio.to_thread(explore, document, address, ALLOWED_OR_NOT)

    require_sound(findings, document)


async def test_a_shard_accepts_what_the_proto_files_allow(shard: RunningShard) -> None:
    address = f"http://127.0.0.1:{shard.ports.rest}"
    document = narrow_document(await fetch_document(address))

    findings = await asyncio.to_thread(explore, document, address, ALLOWED)

    require_sound(findings, document)
    assert list_operations(document) <= {each for each, count in findings.accepted.items() if count}


async def test_a_federation_does_what_its_document_says() -> None:
    async with run_shards(2) as (north, south):
        await push_devices(north, [make_drama_device(number) for number in range(6)])
        await push_devices(south, [make_drama_device(number) for number in range(10, 16)])
        async with run_federation([get_address(north), get_address(south)]) as federation:
            address = f"http://127.0.0.1:{federation.ports.rest}"
            document = await fetch_document(address)

            findings = await asyncio.to_thread(explore, document, address, ALLOWED_OR_NOT)

    require_sound(findings, document)
    assert findings.accepted["POST /api/v1/rounds:run"]


@pytest.mark.parametrize(
    ("schema", "field", "largest"),
    [("ContentInput", "year", 2**32 - 1), ("Hello", "incarnation", 2**64 - 1)],
)
@pytest.mark.parametrize("beyond", [-10, -1, 0, 1, 10])
async def test_a_number_as_text_has_its_limit_too(
    shard: RunningShard, schema: str, field: str, largest: int, beyond: int
) -> None:
    document = await fetch_document(f"http://127.0.0.1:{shard.ports.rest}")
    pattern = document["components"]["schemas"][schema]["properties"][field]["pattern"]

    assert bool(re.fullmatch(pattern, str(largest + beyond))) == (beyond <= 0)
