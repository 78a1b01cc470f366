"""How a network is deployed before it is timed and scored: one file a runtime, one table."""

from objectives.runtimes.deployment import Deployment, DeploymentError, Runtime
from objectives.runtimes.eager import Eager
from objectives.runtimes.onnxruntime import OnnxRuntime

__all__ = ["RUNTIMES", "Deployment", "DeploymentError", "Runtime"]

RUNTIMES: dict[str, type[Runtime]] = {
    "eager": Eager,
    "onnxruntime": OnnxRuntime,
}
