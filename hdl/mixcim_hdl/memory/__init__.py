"""Host-loadable stores and the banked activation memory."""
