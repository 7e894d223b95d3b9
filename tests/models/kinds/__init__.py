"""Tests of models/kinds."""
