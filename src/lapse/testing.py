"""What `import lapse.testing` finds where the distribution lapse-testing is not installed.

Where it is, its package `lapse/testing/` comes before this module: Python prefers a folder to a file of that name.
"""

raise ModuleNotFoundError(
    "lapse.testing comes with a distribution of its own, lapse-testing. "
    "In a checkout of Lapse: pip install . ./lapse-testing",
    name=__name__,
)
