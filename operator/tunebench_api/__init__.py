"""Types of the BenchmarkRun resource and the contract between operator and jobs."""
