"""How a network is deployed before it is timed and scored: one file a runtime, one table."""

from objectives.runtimes.compile import Compile
from objectives.runtimes.cuda_graph import CudaGraph
from objectives.runtimes.deployment import Deployment, DeploymentError, Runtime
from objectives.runtimes.eager import Eager
from objectives.runtimes.onnxruntime import OnnxRuntime

__all__ = ["RUNTIMES", "Deployment", "DeploymentError", "Runtime"]

RUNTIMES: dict[str, type[Runtime]] = {
    "eager": Eager,
    "compile": Compile,
    "cuda_graph": CudaGraph,
    "onnxruntime": OnnxRuntime,
}
