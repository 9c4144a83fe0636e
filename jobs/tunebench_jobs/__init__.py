"""The stages of a benchmark run: data, baseline, train, serve, generate, judge, score, report."""
