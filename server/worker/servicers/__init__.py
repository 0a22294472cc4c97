"""The protocols' methods over message bytes, shared by both listeners."""
