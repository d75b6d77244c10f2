"""Settings of the property tests: the same examples on every machine, in every run."""

import hypothesis

hypothesis.settings.register_profile(
    "lowland",
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
)
hypothesis.settings.register_profile(
    "thorough", hypothesis.settings.get_profile("lowland"), max_examples=500
)
hypothesis.settings.load_profile("lowland")
