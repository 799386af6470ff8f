"""Benchmarks: each measures mirrord beside what a person would use instead, in one run, and prints the ratios.

`python -m bench [calls] [latency] [scan]`, or `make bench` for all. Only ratios measured side by side say
something about another machine; rounds are interleaved and the medians count.
"""
