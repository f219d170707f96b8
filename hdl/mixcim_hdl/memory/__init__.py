"""Host-loadable stores and the banked memories of activations and exponents."""
