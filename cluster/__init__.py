"""The machine: Ray, storage, telemetry, launch files and the planner; it knows nothing of text or tensors."""
