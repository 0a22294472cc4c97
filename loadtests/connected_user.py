"""A backend service of the load profiles: a connection of its own, and its own order of calls.

Imports locust: never loaded by tests in their own process.
"""

from __future__ import annotations

import itertools

import grpc
import grpc.experimental.gevent as grpc_gevent
import numpy as np
from locust import User

from protos.inference import grpc_service_pb2_grpc as oip_grpc
from protos.roost.v1 import predict_pb2_grpc as v1_grpc

grpc_gevent.init_gevent()


class CallFailed(Exception):
    """A call that ended in another status than OK; locust groups failures by this text."""


_user_numbers = itertools.count()


class ConnectedUser(User):
    """Wants the options `target` and `seed`. Subclasses have the tasks."""

    abstract = True

    def on_start(self) -> None:
        # Without a pool of its own, all users of a process would share one connection.
        self.channel = grpc.insecure_channel(self.options.target, [("grpc.use_local_subchannel_pool", 1)])
        self.prediction = v1_grpc.PredictionStub(self.channel)
        self.inference = oip_grpc.GRPCInferenceServiceStub(self.channel)
        self.random = np.random.default_rng((self.options.seed, next(_user_numbers)))

    def on_stop(self) -> None:
        self.channel.close()

    @property
    def options(self):
        return self.environment.parsed_options
