"""ProcessService: the log level of any process, for operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from constellation.errors import InvalidInputError
from constellation.v1 import process_pb2 as pb
from constellation.v1 import process_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from constellation.v1.process_pb2 import LogLevel

_LEVEL_NAMES: Final = {
    pb.LOG_LEVEL_DEBUG: "debug",
    pb.LOG_LEVEL_INFO: "info",
    pb.LOG_LEVEL_WARNING: "warning",
    pb.LOG_LEVEL_ERROR: "error",
}
_LEVELS: Final[dict[str, LogLevel.ValueType]] = {
    name: level for level, name in _LEVEL_NAMES.items()
}


class ProcessServicer(process_pb2_grpc.ProcessServiceServicer):
    """Serves ProcessService to operators.

    Logging belongs to another layer, so the functions that get and set the level are parameters.
    """

    def __init__(self, get_level: Callable[[], str], set_level: Callable[[str], None]) -> None:
        self._get_level = get_level
        self._set_level = set_level

    async def GetLogLevel(
        self, request: pb.GetLogLevelRequest, context: Any
    ) -> pb.GetLogLevelResponse:
        return pb.GetLogLevelResponse(level=_LEVELS[self._get_level()])

    async def SetLogLevel(
        self, request: pb.SetLogLevelRequest, context: Any
    ) -> pb.SetLogLevelResponse:
        if request.level not in _LEVEL_NAMES:
            raise InvalidInputError(
                "level", f"must be from 1 to {len(_LEVEL_NAMES)}, got {request.level}"
            )
        previous = _LEVELS[self._get_level()]
        self._set_level(_LEVEL_NAMES[request.level])
        return pb.SetLogLevelResponse(previous_level=previous)
