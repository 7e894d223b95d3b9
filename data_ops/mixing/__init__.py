"""From which source the next fresh text comes: shares, schedules and their versions, changed while a run goes on."""
