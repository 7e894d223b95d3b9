"""What does a person see of the runs of a cluster: alert rules for Prometheus, a dashboard for Grafana?"""
