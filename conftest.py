"""Settings for the tests of all packages."""

from hypothesis import settings

# Two shared cores, and JAX compiles within the first example: no deadline could be honest.
settings.register_profile("feedrace", deadline=None)
settings.load_profile("feedrace")
