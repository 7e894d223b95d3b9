"""Kafka: topics whose messages are read by our own offsets, partition by partition."""
