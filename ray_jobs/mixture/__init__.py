"""The mixture of a run is looked at and changed, also while the run goes on."""
