"""Observability: a Grafana dashboard and Prometheus alerts over the metrics."""
