"""Which roles may call which method. A method without a row may be called by nobody."""

from __future__ import annotations

from typing import Final

from constellation.auth.principal import Role

_ANYONE: Final[frozenset[Role] | None] = None
"""Not even a token is needed: probes have none."""
_DEVICE: Final = frozenset({Role.DEVICE})
_EVERY_ROLE: Final = frozenset(Role)
_FEDERATION: Final = frozenset({Role.FEDERATION})
_FEEDER: Final = frozenset({Role.FEEDER})
_OPERATOR: Final = frozenset({Role.OPERATOR})
_READERS: Final = frozenset({Role.OPERATOR, Role.VIEWER})

METHOD_ROLES: Final[dict[str, frozenset[Role] | None]] = {
    # A device names itself in each of these messages; `require_own_device` compares.
    "/constellation.v1.SyncService/Sync": _DEVICE,
    "/constellation.v1.SyncService/Exchange": _DEVICE,
    "/constellation.v1.SyncService/GetSyncVersion": _DEVICE,
    "/constellation.v1.SyncService/GetCatalogue": _READERS | _FEEDER | _DEVICE,
    # A device that has no token yet. What it sends is verified there.
    "/constellation.v1.AuthService/GetChallenge": _ANYONE,
    "/constellation.v1.AuthService/IssueToken": _ANYONE,
    # What belongs to no household.
    "/constellation.v1.ShardService/ListShards": _EVERY_ROLE,
    "/constellation.v1.ShardService/GetInfo": _READERS | _FEDERATION,
    "/constellation.v1.ShardService/GetStats": _READERS,
    "/constellation.v1.ShardService/ListTrends": _READERS,
    "/constellation.v1.ShardService/ListClusters": _READERS,
    "/constellation.v1.ShardService/GetContent": _READERS | _FEEDER | _DEVICE,
    "/constellation.v1.ShardService/ListContent": _READERS | _FEEDER | _DEVICE,
    "/constellation.v1.ShardService/AddContent": _FEEDER,
    # What belongs to households.
    "/constellation.v1.ShardService/SearchPatterns": _OPERATOR,
    "/constellation.v1.ShardService/ListDevices": _OPERATOR,
    "/constellation.v1.ShardService/GetDevice": _OPERATOR,
    "/constellation.v1.ShardService/DeleteDevice": _OPERATOR,
    "/constellation.v1.ShardService/QuarantineDevice": _OPERATOR,
    "/constellation.v1.ShardService/SamplePatterns": _OPERATOR,
    # What changes a process.
    "/constellation.v1.ShardService/Drain": _OPERATOR,
    "/constellation.v1.ProcessService/GetLogLevel": _READERS,
    "/constellation.v1.ProcessService/SetLogLevel": _OPERATOR,
    # The federation.
    "/constellation.v1.AggregateService/PullAggregate": _FEDERATION,
    "/constellation.v1.AggregateService/PublishGlobal": _FEDERATION,
    "/constellation.v1.FederationService/RunRound": _OPERATOR,
    "/constellation.v1.FederationService/GetRound": _READERS,
    "/constellation.v1.FederationService/ListRounds": _READERS,
    "/constellation.v1.FederationService/GetPrivacy": _READERS,
    # Probes.
    "/constellation.v1.HealthService/GetHealth": _ANYONE,
    "/constellation.v1.HealthService/GetReadiness": _ANYONE,
    "/constellation.v1.HealthService/GetLiveness": _ANYONE,
    "/constellation.v1.HealthService/GetDetailedHealth": _READERS,
    "/grpc.health.v1.Health/Check": _ANYONE,
    "/grpc.health.v1.Health/List": _ANYONE,
    "/grpc.health.v1.Health/Watch": _ANYONE,
    # Tools such as grpcurl.
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _READERS,
}
"""By method: the roles that may call it; None: everybody, with or without a token."""

HOUSEHOLD_METHODS: Final = frozenset(
    f"/constellation.v1.ShardService/{name}"
    for name in (
        "SearchPatterns",
        "ListDevices",
        "GetDevice",
        "DeleteDevice",
        "QuarantineDevice",
        "SamplePatterns",
    )
)
"""Methods that show or delete what belongs to a household: each call is logged with its caller."""

DEVICE_METHODS: Final = frozenset(
    method for method, roles in METHOD_ROLES.items() if roles is None or Role.DEVICE in roles
)
"""What a device may call, with and without a token."""
