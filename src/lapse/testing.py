"""Python imports this module as `lapse.testing` if the distribution lapse-testing is not installed.

If it is installed, Python imports its package `lapse/testing/` instead: a folder comes before a file of the same name.
"""

raise ModuleNotFoundError(
    "lapse.testing comes with a distribution of its own, lapse-testing. "
    "In a checkout of Lapse: pip install . ./lapse-testing",
    name=__name__,
)
