"""Ask a server what a model takes, send rows of zeros, print what comes back.

    python examples/client_predict.py employment --target 127.0.0.1:8001

Needs `roost-grpc` only (clients/python).
"""

import argparse

import numpy as np

import roost

DTYPES = {"BOOL": "bool", "FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "S1"}


def zeros(tensor: roost.TensorMetadata, rows: int) -> np.ndarray:
    """Zeros for an input; a free dimension (-1) gets `rows`. INT32 is numpy's int32, UINT8 its uint8, and so on."""
    shape = [rows if size == -1 else size for size in tensor.shape]
    return np.zeros(shape, DTYPES.get(tensor.datatype, tensor.datatype.lower()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--target", default="127.0.0.1:8001")
    parser.add_argument("--rows", type=int, default=2)
    arguments = parser.parse_args()
    with roost.Client(arguments.target) as client:
        try:
            described = client.model_metadata(arguments.model)
            inputs = {tensor.name: zeros(tensor, arguments.rows) for tensor in described.inputs}
            prediction = client.predict(arguments.model, inputs)
        except roost.RoostError as error:
            raise SystemExit(f"{type(error).__name__}: {error}") from error
    print(f"{prediction.model}, version {prediction.version}, {prediction.variant}, digest {prediction.digest_prefix}")
    for name, values in prediction.outputs.items():
        print(f"{name}: {values.dtype}{list(values.shape)}\n{values}")


if __name__ == "__main__":
    main()
