"""Models that learn latencies from programs: features, training, and networks."""
