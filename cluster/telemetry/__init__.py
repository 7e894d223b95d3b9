"""Telemetry: what is measured, under which name and unit, and where it goes."""
