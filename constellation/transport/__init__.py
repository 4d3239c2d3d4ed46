"""How the core is reached: gRPC, and REST in front of it."""
