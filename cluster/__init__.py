"""What the machine knows: the Ray connection, topology, storage, telemetry and the planner."""
