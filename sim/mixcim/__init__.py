"""mixcim: model, compiler, simulator and command line of an open mixed-precision compute-in-memory processor."""
