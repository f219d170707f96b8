"""Memristor-CIM: emulated cell array, ADC readout, place-value shift-add."""
