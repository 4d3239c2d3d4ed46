"""JSON becomes a message only when every field is valid; an error names the field."""

from __future__ import annotations

from typing import Any

import pytest

from constellation.transport.rest.errors import FieldError
from constellation.transport.rest.fields import to_json_value, to_message
from constellation.v1 import federation_pb2, process_pb2, shard_pb2, sync_pb2


def test_a_message_has_the_values_of_the_json() -> None:
    values = {"contents": [{"contentId": "film:1", "year": "1999", "embedding": "YWI"}]}

    message = to_message(shard_pb2.AddContentRequest, values)

    content = shard_pb2.Content(content_id="film:1", year=1999, embedding=b"ab")
    assert message == shard_pb2.AddContentRequest(contents=[content])


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"contents": {}}, "contents must be an array, got {}"),
        ({"contents": ["x"]}, "contents[0] must be an object, got 'x'"),
        ({"contents": [None]}, "contents[0] must not be null: leave it out"),
        ({"contents": [{"title": None}]}, "contents[0].title must not be null: leave it out"),
        ({"contents": [{"title": 1}]}, "contents[0].title must be a string of Unicode, got 1"),
        ({"contents": [{"title": "\ud800"}]}, "contents[0].title must be a string of Unicode"),
        ({"contents": [{"x": 1}]}, "contents[0].x is unknown: Content has content_id, title"),
        ({"contents": [{"\ud800": 1}]}, "contents[0].\\ud800 is unknown: Content has"),
        (
            {"contents": [{"content_id": "a", "contentId": "b"}]},
            "contents[0].contentId is given twice: as content_id and as contentId",
        ),
        ({"contents": [{"year": -1}]}, "contents[0].year must be an integer from 0 to 4294967295"),
        ({"contents": [{"year": "1_0"}]}, "contents[0].year must be an integer from 0"),
        ({"contents": [{"year": "٣"}]}, "contents[0].year must be an integer from 0"),
        ({"contents": [{"year": 1.5}]}, "contents[0].year must be an integer from 0"),
        ({"contents": [{"year": float("inf")}]}, "contents[0].year must be an integer from 0"),
        ({"contents": [{"year": True}]}, "contents[0].year must be an integer from 0"),
        ({"contents": [{"year": []}]}, "contents[0].year must be an integer from 0"),
        (
            {"contents": [{"content_type": "FILM"}]},
            "contents[0].content_type must be one of CONTENT_TYPE_UNSPECIFIED, CONTENT_TYPE_MOVIE",
        ),
        ({"contents": [{"contentType": "\ud800"}]}, "contents[0].contentType must be one of"),
        ({"contents": [{"content_type": 2**64}]}, "contents[0].content_type must be one of"),
        ({"contents": [{"content_type": 99}]}, "contents[0].content_type must be one of"),
        ({"contents": [{"content_type": []}]}, "contents[0].content_type must be one of"),
        ({"contents": [{"embedding": "!"}]}, "contents[0].embedding must be base64, got '!'"),
        ({"contents": [{"embedding": "YWJjZ"}]}, "contents[0].embedding must be base64"),
        ({"contents": [{"embedding": 1}]}, "contents[0].embedding must be base64, got 1"),
        ({"contents": [{"genres": "Drama"}]}, "contents[0].genres must be an array, got 'Drama'"),
        ({"contents": [{"genres": [1]}]}, "contents[0].genres[0] must be a string of Unicode"),
    ],
)
def test_an_invalid_field_is_named(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(FieldError) as raised:
        to_message(shard_pb2.AddContentRequest, values)

    assert str(raised.value).startswith(problem)
    assert problem.startswith(raised.value.metadata["field"])


def test_a_duration_that_protobuf_cannot_parse_is_an_error_of_the_body() -> None:
    with pytest.raises(FieldError, match=r"^body cannot be read: "):
        to_message(shard_pb2.DrainRequest, {"spread": "soon"})


@pytest.mark.parametrize(
    ("rate", "accepted"),
    [
        (1, True),
        ("0.5", True),
        ("1e-1", True),
        ("NaN", True),  # as JSON goes; the delta's receipt rejects the pattern
        ("-Infinity", True),
        ("nan", False),
        ("inf", False),
        (" 1", False),
        ("1_0", False),
        (True, False),
        (1e39, False),
        ("1e39", False),
        (10**400, False),
        ({}, False),
    ],
)
def test_numbers_are_those_of_proto3_json(rate: Any, *, accepted: bool) -> None:
    values = {"deltas": [{"upserts": {"success_rates": [rate]}}]}
    problem = ""

    try:
        to_message(sync_pb2.ExchangeRequest, values)
    except FieldError as error:
        problem = str(error)

    assert problem.startswith("deltas[0].upserts.success_rates[0] must be a number") is not accepted


def test_a_parameter_is_text_until_the_message_is_made() -> None:
    page_size = federation_pb2.ListRoundsRequest.DESCRIPTOR.fields_by_name["page_size"]

    assert to_json_value(page_size, ["7"], "page_size") == "7"


@pytest.mark.parametrize(("text", "value"), [("2", 2), ("LOG_LEVEL_INFO", "LOG_LEVEL_INFO")])
def test_an_enum_parameter_is_a_number_or_a_name(text: str, value: object) -> None:
    level = process_pb2.SetLogLevelRequest.DESCRIPTOR.fields_by_name["level"]

    assert to_json_value(level, [text], "level") == value


def test_a_bool_parameter_is_true_or_false() -> None:
    connected_only = shard_pb2.ListDevicesRequest.DESCRIPTOR.fields_by_name["connected_only"]

    assert to_json_value(connected_only, ["true"], "connected_only") is True
    assert to_json_value(connected_only, ["false"], "connected_only") is False
    with pytest.raises(FieldError, match="connected_only must be true or false, got '1'"):
        to_json_value(connected_only, ["1"], "connected_only")


def test_only_a_repeated_parameter_may_be_given_twice() -> None:
    encodings = sync_pb2.Hello.DESCRIPTOR.fields_by_name["encodings"]
    limit = shard_pb2.ListTrendsRequest.DESCRIPTOR.fields_by_name["limit"]

    assert to_json_value(encodings, ["1", "3"], "encodings") == [1, 3]
    with pytest.raises(FieldError, match="limit must be given once, got 2 values"):
        to_json_value(limit, ["1", "2"], "limit")
