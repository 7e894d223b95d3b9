"""Tests of models/measures."""
