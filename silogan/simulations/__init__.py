"""Many hospitals on one machine: scenarios, partitions, engines, benchmarks."""
