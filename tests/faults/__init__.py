"""Everything that can break, tried: parameters, data, the machine. `make test-faults` writes docs/faults.md."""
