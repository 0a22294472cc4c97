"""Verified bytes become served models: session, warm-up, golden check, batchability probe, lookup."""
