"""For every test: mixcim is imported before numpy, so that its choice of BLAS threads counts."""

import mixcim  # noqa: F401
