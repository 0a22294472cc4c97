"""Whether a running server answers a bundle's golden examples as they were recorded. Used by `deploying.py`."""

from __future__ import annotations

from typing import Final

from pipelines.refusal import Refusal
from registry_client.golden import Tensors, check_golden
from registry_client.verify import VerifiedBundle
from roost import Client, errors

CALL_S_MAX: Final = 10.0


def check_answers(target: str, bundle: VerifiedBundle) -> str:
    """What was seen, in words. Raises Refusal where another digest answers, or none; GoldenMismatch by the value."""
    golden, name = bundle.golden(), bundle.manifest.name

    with Client(target, timeout_s=CALL_S_MAX) as client:

        def run(inputs: Tensors) -> Tensors:
            try:
                reply = client.predict(name, inputs)
            except errors.RoostError as error:
                raise Refusal(
                    f"server {target}", expected=f"an answer to {name}'s golden examples",
                    got=f"{error.code.name}: {error}"[:300],
                    hint="Name the port of its predictions: --target.",
                ) from error  # fmt: skip
            if not bundle.digest.startswith(reply.digest_prefix or "none"):
                raise Refusal(
                    f"server {target}", expected=f"answers of digest {bundle.digest[:12]}",
                    got=f"of version {reply.version}, digest {reply.digest_prefix or 'unknown'}",
                    hint="--admin and --target have to be the same server's.",
                )  # fmt: skip
            return reply.outputs

        check_golden(golden, run, bundle.manifest.tolerance.rtol, bundle.manifest.tolerance.atol)
    return f"{target} answers {len(golden.examples)} golden examples as recorded, with digest {bundle.digest[:12]}"
