"""How does a cluster come to be: launch files for clouds and Kubernetes, the agent on their spot nodes, their check."""
