"""mixcim: model, compiler, simulator and command line of an open mixed-precision compute-in-memory processor."""

import os

# The model's matrix products are small. OpenBLAS, which numpy brings, gains nothing from a second thread for them and
# loses a factor of ten when another process wants that core. numpy reads this when it is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
