"""The dashboards there are, in the order of Grafana's list."""

from dashboards import cost, data, experiment, overview, patterns, worker

DASHBOARDS = [module.DASHBOARD for module in (overview, patterns, cost, experiment, data, worker)]
