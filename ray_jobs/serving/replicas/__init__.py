"""Replicas: several processes answer behind one port, and one that dies is started again."""
