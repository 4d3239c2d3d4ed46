"""ProcessService: what operators ask of any process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from constellation.errors import InvalidInputError
from constellation.v1 import process_pb2 as pb
from constellation.v1 import process_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from constellation.v1.process_pb2 import LogLevel

_NAMES: Final = {
    pb.LOG_LEVEL_DEBUG: "debug",
    pb.LOG_LEVEL_INFO: "info",
    pb.LOG_LEVEL_WARNING: "warning",
    pb.LOG_LEVEL_ERROR: "error",
}
_LEVELS: Final[dict[str, LogLevel.ValueType]] = {name: level for level, name in _NAMES.items()}


class ProcessServicer(process_pb2_grpc.ProcessServiceServicer):
    """Serves operators. The log itself is another layer's: how to ask and set it is given."""

    def __init__(self, level: Callable[[], str], set_level: Callable[[str], None]) -> None:
        self._level = level
        self._set_level = set_level

    async def GetLogLevel(
        self, request: pb.GetLogLevelRequest, context: Any
    ) -> pb.GetLogLevelResponse:
        return pb.GetLogLevelResponse(level=_LEVELS[self._level()])

    async def SetLogLevel(
        self, request: pb.SetLogLevelRequest, context: Any
    ) -> pb.SetLogLevelResponse:
        if request.level not in _NAMES:
            raise InvalidInputError(
                "level", f"must be from 1 to {len(_NAMES)}, got {request.level}"
            )
        previous = _LEVELS[self._level()]
        self._set_level(_NAMES[request.level])
        return pb.SetLogLevelResponse(previous_level=previous)
