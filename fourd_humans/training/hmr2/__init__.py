"""Training of HMR 2.0 (Humans in 4D, supplement, sections S.1 to S.3)."""
