"""What stands in for the world, for the demo, the tests and the benchmarks."""
