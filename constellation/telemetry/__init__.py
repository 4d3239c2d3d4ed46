"""Observability of a process: logs, metrics for Prometheus, and traces over OTLP."""
