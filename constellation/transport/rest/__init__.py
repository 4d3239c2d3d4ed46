"""REST: the generated routes, each answered by the gRPC method that it names."""
