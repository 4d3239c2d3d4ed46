"""What tests, demo and benchmarks share: a PostgreSQL server, real films, ratings and patterns."""
