import registry_client  # noqa: F401  # before ONNX Runtime, whose telemetry it turns off
