"""What tests, the demo and benchmarks share: PostgreSQL, films, ratings and patterns, all real."""
