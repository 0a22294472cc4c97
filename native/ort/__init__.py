"""ONNX Runtime through its C API: sessions that are made, run, ended and freed without the GIL."""
