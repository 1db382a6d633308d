"""Evaluation of models and suites on the benchmarks of the paper and on captioned videos."""
