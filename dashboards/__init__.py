"""Grafana's dashboards: a module each, from which `make dashboards` writes the JSON beside it."""
