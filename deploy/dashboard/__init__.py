"""The Grafana dashboard, of which the chart ships the JSON."""
