"""A small typed client for Roost inference servers: numpy in, numpy out.

    with roost.Client("127.0.0.1:8001") as client:
        prediction = client.predict("mlp", {"features": np.zeros((1, 32), np.float32)})
        prediction["scores"]

`roost.aio.Client` is the same for asyncio; `roost.errors` holds what calls raise. The generated messages are in
`roost.v1`.
"""

from roost import aio, errors
from roost.client import Client
from roost.errors import RoostError
from roost.metadata import ModelMetadata, ServerMetadata, TensorMetadata
from roost.predictions import Prediction
from roost.split import key_position

__all__ = [
    "Client",
    "ModelMetadata",
    "Prediction",
    "RoostError",
    "ServerMetadata",
    "TensorMetadata",
    "aio",
    "errors",
    "key_position",
]
