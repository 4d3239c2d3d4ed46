"""REST: the generated routes, answered by the gRPC methods that they name."""
