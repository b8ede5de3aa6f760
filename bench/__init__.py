"""The benchmark and reproducibility suite. Run it from the repository's root: `python -m bench --help`."""
