"""The tests mirror the packages file by file; `faults` and `bench` stand beside them, `services` starts what they run against."""
