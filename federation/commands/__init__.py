"""The commands of `federation`, one module each; a `run_…` function returns an exit code.

`once` is `federation round --once`. `startup` is what commands share.
"""
