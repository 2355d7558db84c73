"""What the benchmark and the demonstration share: load, probes, and what processes cost."""
