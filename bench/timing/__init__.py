"""How long Grad-CAM takes and how much memory: the pytest-benchmark suite and the regression check.

`groups` says what is compared with what, `inference` and `training` hold the contenders, `interleave` and `memory`
measure them, `test_suite` hands the figures to pytest-benchmark, which `run` starts; `bench/report/` shows them.
`regress` compares ratios with `expected.json`, `before` with an earlier commit on the same machine.
"""
