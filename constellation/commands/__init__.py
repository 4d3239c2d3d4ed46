"""The commands of `constellation`, one module each; a `run_…` function returns an exit code.

`import_` has an underscore because `import` is a keyword. `startup` is what commands share.
"""
