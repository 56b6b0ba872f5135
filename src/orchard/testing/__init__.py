"""What implementations of Orchard's seams are tested with: contract suites for pytest."""
