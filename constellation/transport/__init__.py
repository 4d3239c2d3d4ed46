"""How the core is reached: gRPC."""
