"""Runs over several nodes on one machine: raylets in network namespaces; nodes are cut off, drained, killed, joined."""
