"""What can be searched; imports nothing."""

_SCORED = "problems.pruning.variants.sparsity:kind_of_scorer"
_SCORERS = ("gblm", "magnitude", "magnitude-row", "multiflow", "ria", "ria-row", "wanda")

_SUITES = {"dtlz": range(3, 8), "mw": range(1, 15), "wfg": range(1, 10), "zdt": (5,)}

CATALOGUE: dict[str, dict[str, object]] = {
    "problem": {
        "hebbian/ant": ("problems.hebbian.problem:Plastic", {"task": "ant", "damage": ["leg@0"]}),
        "hebbian/ant-fast": (
            "problems.hebbian.problem:Plastic",
            {"task": "ant-fast", "damage": ["leg@0"]},
        ),
        "hebbian/cart": ("problems.hebbian.problem:Plastic", {"damage": ["length@2"]}),
        "hebbian/cheetah": (
            "problems.hebbian.problem:Plastic",
            {"task": "cheetah", "damage": ["leg@0"]},
        ),
        "hebbian/hopper": ("problems.hebbian.problem:Plastic", {"task": "hopper"}),
        "hebbian/reach": (
            "problems.hebbian.problem:Plastic",
            {"task": "reach", "damage": ["turn@60"]},
        ),
        "hebbian/swimmer": ("problems.hebbian.problem:Plastic", {"task": "swimmer"}),
        "hebbian/walker": (
            "problems.hebbian.problem:Plastic",
            {"task": "walker", "damage": ["leg@0"]},
        ),
        "influence/downscaled": "problems.influence.downscaled:Downscaled",
        "influence/ic": ("problems.influence.problem:Influence", {"model": "ic"}),
        "influence/lt": ("problems.influence.problem:Influence", {"model": "lt"}),
        "influence/wc": ("problems.influence.problem:Influence", {"model": "wc"}),
        "prune/mixed": "problems.pruning.searches:Mixed",
        "prune/submodules": ("problems.pruning.searches:Mixed", {"variants": ["removal"]}),
        "prune/blocks": (
            "problems.pruning.searches:Mixed",
            {"variants": ["removal"], "sites": "block"},
        ),
        "prune/width": ("problems.pruning.searches:Mixed", {"variants": ["width"]}),
        "prune/heads": ("problems.pruning.searches:Mixed", {"variants": ["heads"]}),
        "prune/allocation": (
            "problems.pruning.searches:Mixed",
            {"variants": ["wanda"], "sites": "linear"},
        ),
        "synthetic/dtlz1": ("problems.synthetic:DTLZ", {"number": 1}),
        "synthetic/dtlz2": ("problems.synthetic:DTLZ", {"number": 2}),
        "synthetic/knapsack": "problems.synthetic:Knapsack",
        "synthetic/layers": "problems.synthetic:Layers",
        "synthetic/zdt1": ("problems.synthetic:ZDT", {"number": 1}),
        "synthetic/zdt2": ("problems.synthetic:ZDT", {"number": 2}),
        "synthetic/zdt3": ("problems.synthetic:ZDT", {"number": 3}),
        "synthetic/zdt4": ("problems.synthetic:ZDT", {"number": 4}),
        "synthetic/zdt6": ("problems.synthetic:ZDT", {"number": 6}),
        **{
            f"synthetic/{suite}{k}": ("problems.suites:Suite", {"suite": suite, "number": k})
            for suite, numbers in _SUITES.items()
            for k in numbers
        },
    },
    "variant": {
        "dsnot": "problems.pruning.variants.dsnot:DSNOT",
        "heads": "problems.pruning.variants.heads:HEADS",
        "mpifa": "problems.pruning.variants.mpifa:REFITTED",
        "mustafar": "problems.pruning.variants.mustafar:MUSTAFAR",
        "pifa": "problems.pruning.variants.pifa:PIVOTED",
        "removal": "problems.pruning.variants.removal:REMOVAL",
        "replaceme": "problems.pruning.variants.replaceme:REPLACEME",
        "slicegpt": "problems.pruning.variants.slicegpt:SLICEGPT",
        "sparsegpt": "problems.pruning.variants.updates:SPARSEGPT",
        "streamline": "problems.pruning.variants.streamline:STREAMLINE",
        "subfit": "problems.pruning.variants.subfit:SUBFIT",
        "svd": "problems.pruning.variants.svd:SVD_LLM",
        "width": "problems.pruning.variants.width:WIDTH",
        **{scorer: (_SCORED, {"name": scorer}) for scorer in _SCORERS},
        "2:4": (
            "problems.pruning.variants.n_of_m:n_of_m_kind",
            {"n": 2, "m": 4, "scorer": "wanda"},
        ),
    },
    "method": {
        "2:4": ("problems.pruning.methods.n_of_m:NofM", {"pattern": "2:4"}),
        "2ssp": "problems.pruning.methods.two_stage:TwoStage",
        "4:8": ("problems.pruning.methods.n_of_m:NofM", {"pattern": "4:8"}),
        "alphapruning": (
            "problems.pruning.methods.allocated:Allocated",
            {"allocator": "alphapruning"},
        ),
        "blockpruner": "problems.pruning.methods.blockpruner:BlockPruner",
        "depth": "problems.pruning.methods.depth:AttentionsAlone",
        "dsnot": "problems.pruning.methods.dsnot:DSnoT",
        "ecoflap": ("problems.pruning.methods.allocated:Allocated", {"allocator": "ecoflap"}),
        "erk": ("problems.pruning.methods.allocated:Allocated", {"allocator": "erk"}),
        "evopress-depth": "problems.pruning.methods.evopress_depth:Depth",
        "evopress-sparsity": "problems.pruning.methods.evopress_sparsity:Sparsity",
        "gblm": ("problems.pruning.methods.plain:Plain", {"scorer": "gblm"}),
        "magnitude": ("problems.pruning.methods.plain:Plain", {"scorer": "magnitude"}),
        "mpifa": "problems.pruning.methods.mpifa:MPIFA",
        "multiflow": ("problems.pruning.methods.plain:Plain", {"scorer": "multiflow"}),
        "mustafar": "problems.pruning.methods.mustafar:Mustafar",
        "neuroal": ("problems.pruning.methods.allocated:Allocated", {"allocator": "neuroal"}),
        "nm": "problems.pruning.methods.n_of_m:NofM",
        "owl": ("problems.pruning.methods.allocated:Allocated", {"allocator": "owl"}),
        "pifa": "problems.pruning.methods.low_rank:PIFA",
        "replaceme": "problems.pruning.methods.replaceme:ReplaceMe",
        "ria": ("problems.pruning.methods.plain:Plain", {"scorer": "ria"}),
        "shortened-llama": "problems.pruning.methods.shortened_llama:ShortenedLlama",
        "shortgpt": "problems.pruning.methods.shortgpt:ShortGPT",
        "sleb": "problems.pruning.methods.sleb:SLEB",
        "slicegpt": "problems.pruning.methods.slicegpt:SliceGPT",
        "sparsegpt": ("problems.pruning.methods.plain:Plain", {"scorer": "sparsegpt"}),
        "streamline": "problems.pruning.methods.streamline:Streamline",
        "subfit": "problems.pruning.methods.subfit:SubFit",
        "svd": "problems.pruning.methods.low_rank:SVD",
        "uidl": "problems.pruning.methods.uidl:AngularWindow",
        "uniform": ("problems.pruning.methods.allocated:Allocated", {"allocator": "uniform"}),
        "wanda": ("problems.pruning.methods.plain:Plain", {"scorer": "wanda"}),
        "width": "problems.pruning.methods.width:WidthAlone",
    },
}
"""Kind → id → ``module:attr``, or a pair of that and fixed settings."""
