"""What the benchmarks share: an installation of their own, messages, clients, CPU and memory of its parts, tables."""
