"""What a process tells of itself: logs, metrics for Prometheus, and traces by OTLP."""
