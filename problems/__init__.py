"""What can be searched; imports nothing."""

CATALOGUE: dict[str, dict[str, object]] = {
    "problem": {
        "prune/mixed": "problems.pruning.searches:Mixed",
        "synthetic/zdt1": ("problems.synthetic:ZDT", {"number": 1}),
    }
}
"""Kind → id → ``module:attr``, or a pair of that and fixed settings."""
